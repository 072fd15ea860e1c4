"""Eager PyTorch, float32: reference of the gate, baseline of the race; ships when asked for."""

from vadfast.compile.backends import Precision, Workshop, copy_into
from vadfast.models.eager import EagerEngine
from vadfast.runtime.engine import Engine

__all__ = ["EagerBackend", "EagerEngine"]  # the runtime finds the engine under this module's name


class EagerBackend:
    """The model as it was trained."""

    name = "eager"
    precisions: tuple[Precision, ...] = ("fp32",)
    path = "artefacts/eager/model.safetensors"
    packages: tuple[str, ...] = ("torch",)

    def can_run(self, precision: Precision) -> str | None:
        """Runs wherever this command does."""
        return None

    def build(self, workshop: Workshop, precision: Precision, batch: int) -> Engine:
        """Copies weights and configuration of the run, enough to make the model again."""
        copy_into(
            (workshop.folder / self.path).parent,
            workshop.run / "model.safetensors",
            workshop.run / "run.toml",
        )
        return EagerEngine(workshop.scorer, workshop.spec, batch=batch, threads=workshop.threads)
