"""ONNX Runtime on the CPU: reads model.onnx as it is; its CPU kernels compute in float32, or 8 bits where the model says so."""

from vadfast.compile.backends import INT8_MODEL, Precision, Workshop
from vadfast.runtime.engine import Engine


class ONNXRuntimeBackend:
    """One session, default optimisations: pinning the batch, or no spinning, measured no faster than these."""

    name = "onnxruntime"
    precisions: tuple[Precision, ...] = ("fp32", "int8")
    packages: tuple[str, ...] = ("onnxruntime",)

    def path(self, precision: Precision) -> str:
        """The exported model, or its form in 8 bits."""
        return INT8_MODEL if precision.startswith("int8") else "model.onnx"

    def can_run(self, precision: Precision) -> str | None:
        """Runs on every CPU that its wheel installs on."""
        return None

    def build(self, workshop: Workshop, precision: Precision, batch: int) -> Engine:
        """Opens the exported model."""
        from vadfast.runtime.engines.onnxruntime import ONNXRuntimeEngine

        return ONNXRuntimeEngine.load(
            workshop.folder / self.path(precision),
            precision=precision,
            batch=batch,
            threads=workshop.n_threads(self.name),
        )
