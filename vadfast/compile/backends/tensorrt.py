"""TensorRT on an NVIDIA GPU: builds an engine of model.onnx, or of its form in float16; the engine stays on this machine, in a cache.

What ships is the ONNX file. Whoever opens the bundle builds the engine of his own GPU, driver and TensorRT.
"""

from vadfast.compile.backends import INT8_MODEL, Precision, Workshop
from vadfast.compile.half import write_half
from vadfast.runtime.engine import Engine
from vadfast.runtime.engines.tensorrt import TensorRTEngine, installed, missing

HALF_MODEL = "artefacts/tensorrt/model.fp16.onnx"


class TensorRTBackend:
    """One execution context with a static batch, and a CUDA graph of the call."""

    name = "tensorrt"
    precisions: tuple[Precision, ...] = ("fp32", "fp16", "int8")

    @property
    def packages(self) -> tuple[str, ...]:
        """TensorRT by one of its names, and CuPy; those that are here, because ``can_run`` says better what is not."""
        return installed()

    def path(self, precision: Precision) -> str:
        """The exported model, or its form in float16 or 8 bits."""
        return {"fp16": HALF_MODEL, "int8": INT8_MODEL}.get(precision, "model.onnx")

    def can_run(self, precision: Precision) -> str | None:
        """Needs a GPU with its driver, TensorRT and CuPy."""
        return missing()

    def build(self, workshop: Workshop, precision: Precision, batch: int) -> Engine:
        """Converts the exported model where that is asked for, and builds the engine."""
        model = workshop.folder / self.path(precision)
        if precision == "fp16":
            write_half(workshop.folder / "model.onnx", model)
        return TensorRTEngine.load(model, precision=precision, batch=batch)
