"""OpenVINO on the CPU: compiles model.onnx in memory, in float32 or, where the CPU can, bfloat16."""

from vadfast.compile.backends import Precision, Workshop
from vadfast.runtime.engine import Engine


class OpenVINOBackend:
    """One latency-bound request with a static batch."""

    name = "openvino"
    precisions: tuple[Precision, ...] = ("fp32", "bf16")
    path = "model.onnx"
    packages: tuple[str, ...] = ("openvino",)

    def can_run(self, precision: Precision) -> str | None:
        """Asks OpenVINO itself, which may know less than the CPU does."""
        import openvino

        from vadfast.runtime.engines.openvino import can_bf16

        if precision == "bf16" and not can_bf16(openvino.Core()):
            return "cannot run here: OpenVINO reports no bf16 on this CPU"
        return None

    def build(self, workshop: Workshop, precision: Precision, batch: int) -> Engine:
        """Compiles the exported model."""
        from vadfast.runtime.engines.openvino import OpenVINOEngine

        return OpenVINOEngine.load(
            workshop.folder / self.path, precision=precision, batch=batch, threads=workshop.threads
        )
