"""TensorRT, or TensorRT for RTX, whichever is installed, used as its documentation says: one context, buffers of torch.

Names are those that 10.16, 11.4 and RTX 1.7 have in common.
"""

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

# The RTX bindings' own name comes without the metapackage.
MODULES = ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")


def installed() -> str | None:
    """Returns the module that will be used, or None."""
    return next((name for name in MODULES if importlib.util.find_spec(name)), None)


def build(model: Path, shape: tuple[int, ...]) -> bytes:
    """Returns the serialised engine of the ONNX ``model`` with the input ``frames`` of one ``shape``; needs no GPU with RTX.

    Raises:
        RuntimeError: the model cannot be parsed or built; the message is the library's.
    """
    trt: Any = importlib.import_module(installed() or MODULES[0])
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(model)):
        faults = "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))
        raise RuntimeError(f"{trt.__name__} cannot parse {model.name}: {faults}")
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    profile.set_shape("frames", shape, shape, shape)
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise RuntimeError(f"{trt.__name__} built nothing of {model.name}; its log says why")
    return bytes(plan)


def load(plan: bytes, frames: Tensor) -> Callable[[], tuple[Tensor, ...]]:
    """Returns a call that runs ``plan`` on ``frames`` (on the GPU) in torch's stream, into outputs that it keeps.

    Raises:
        RuntimeError: this GPU or driver cannot run the plan.
    """
    trt: Any = importlib.import_module(installed() or MODULES[0])
    engine = trt.Runtime(trt.Logger(trt.Logger.ERROR)).deserialize_cuda_engine(plan)
    if engine is None:  # the only sign that it gives
        raise RuntimeError(f"{trt.__name__} cannot load its plan on this GPU; its log says why")
    context = engine.create_execution_context()
    context.set_input_shape("frames", tuple(frames.shape))
    outputs = {}
    for name in map(engine.get_tensor_name, range(engine.num_io_tensors)):
        if engine.get_tensor_mode(name) == trt.TensorIOMode.OUTPUT:
            shape = tuple(context.get_tensor_shape(name))
            outputs[name] = torch.empty(shape, dtype=torch.float32, device=frames.device)
            context.set_tensor_address(name, outputs[name].data_ptr())
    context.set_tensor_address("frames", frames.data_ptr())

    def call() -> tuple[Tensor, ...]:
        if not context.execute_async_v3(torch.cuda.current_stream().cuda_stream):
            raise RuntimeError(f"{trt.__name__} did not run; its log says why")
        return outputs["components"], outputs["heatmap"]

    return call
