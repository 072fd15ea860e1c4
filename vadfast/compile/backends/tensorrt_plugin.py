"""TensorRT with our own kernel for criss-cross attention, as a plugin: raced beside TensorRT alone, and shipped only when asked for.

What ships is an ONNX file that holds the kernel as PTX, in the two nodes of each attention. Building an engine of it needs TensorRT 10.9
or newer, not torch and not Triton.
"""

import importlib.util

from vadfast.compile.backends import Precision, Workshop
from vadfast.compile.half import write_half
from vadfast.runtime.engine import Engine
from vadfast.runtime.engines.tensorrt import TensorRTPluginEngine, installed, plugin_missing

_MODELS = {
    "fp32": "artefacts/tensorrt-plugin/model.onnx",
    "fp16": "artefacts/tensorrt-plugin/model.fp16.onnx",
}


class TensorRTPluginBackend:
    """One execution context with a static batch, and a CUDA graph of the call."""

    name = "tensorrt-plugin"
    precisions: tuple[Precision, ...] = ("fp32", "fp16")

    @property
    def packages(self) -> tuple[str, ...]:
        """TensorRT and CuPy as far as they are here; not Triton, which makes the kernel and is not needed to run it."""
        return installed()

    def path(self, precision: Precision) -> str:
        """The exported model, or its form in float16, with our nodes in it."""
        return _MODELS[precision]

    def can_run(self, precision: Precision) -> str | None:
        """Needs what TensorRT does, a version with plugins that are compiled ahead of time, and a GPU that the kernel is for."""
        if refused := plugin_missing():
            return refused
        if importlib.util.find_spec("triton") is None:
            return "cannot be built here: triton, which compiles its kernel, is not installed"
        return None

    def build(self, workshop: Workshop, precision: Precision, batch: int) -> Engine:
        """Puts the kernels into the exported model, and builds the engine."""
        import onnx

        from vadfast.compile.criss_cross_nodes import replace_blocks

        source, target = workshop.folder / "model.onnx", workshop.folder / self.path(precision)
        target.parent.mkdir(parents=True, exist_ok=True)
        if precision == "fp16":
            write_half(source, target)
            source = target
        model = onnx.load(source)
        replace_blocks(model)
        onnx.save(model, target)
        return TensorRTPluginEngine.load(target, precision=precision, batch=batch)
