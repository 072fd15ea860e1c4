"""TensorRT and TensorRT-RTX: one adapter over what TensorRT 10, 11 and RTX have in common.

The engine is built on the machine that it runs on, from the bundle's ONNX file, and kept in a cache outside of the bundle. No torch:
memory, streams and graphs are CuPy's.

    api       the names of TensorRT that are used, and nothing else; rtx_api those of TensorRT-RTX alone
    library   which TensorRT is installed
    builder   from an ONNX file to an engine's bytes
    plugins   our own kernel for criss-cross attention, where TensorRT takes one
    cache     engines on disk, and when one may be opened; private_file, prune
    kernels   what TensorRT-RTX compiled for this GPU, on disk
    gpu       the GPU, and why there is none
    session   an engine in GPU memory, and the call
"""
