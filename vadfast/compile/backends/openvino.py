"""OpenVINO on the CPU: compiles model.onnx in memory, in float32 or, where the CPU can, bfloat16."""

from vadfast.compile.backends import INT8_MODEL, Precision, Workshop
from vadfast.runtime.engine import Engine


class OpenVINOBackend:
    """One latency-bound request with a static batch."""

    name = "openvino"
    precisions: tuple[Precision, ...] = ("fp32", "bf16", "int8", "int8-bf16")
    packages: tuple[str, ...] = ("openvino",)

    def path(self, precision: Precision) -> str:
        """The exported model, or its form in 8 bits."""
        return INT8_MODEL if precision.startswith("int8") else "model.onnx"

    def can_run(self, precision: Precision) -> str | None:
        """Asks OpenVINO itself, which may know less than the CPU does."""
        import openvino

        from vadfast.runtime.engines.openvino import can_bf16

        if precision.endswith("bf16") and not can_bf16(openvino.Core()):
            return "cannot run here: OpenVINO reports no bf16 on this CPU"
        return None

    def build(self, workshop: Workshop, precision: Precision, batch: int) -> Engine:
        """Compiles the exported model."""
        from vadfast.runtime.engines.openvino import OpenVINOEngine

        return OpenVINOEngine.load(
            workshop.folder / self.path(precision),
            precision=precision,
            batch=batch,
            threads=workshop.n_threads(self.name),
            pinned=workshop.pinned(self.name),
        )
