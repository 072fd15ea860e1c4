"""Eager PyTorch, float32: reference of the gate, baseline of the race; ships when asked for."""

import shutil
from pathlib import Path

from vadfast.compile.backends import Precision, Workshop
from vadfast.models.eager import EagerEngine
from vadfast.models.registry import CONFIG_FILE, MODEL_FILE
from vadfast.runtime.engine import Engine
from vadfast.train.config import RunConfig

__all__ = ["EagerBackend", "EagerEngine"]  # the runtime finds the engine under this module's name

WEIGHTS = "artefacts/eager/model.safetensors"


class EagerBackend:
    """The model as it was trained."""

    name = "eager"
    precisions: tuple[Precision, ...] = ("fp32",)
    packages: tuple[str, ...] = ("torch", "safetensors")

    def path(self, precision: Precision) -> str:
        """Its weights; the configuration is beside them."""
        return WEIGHTS

    def can_run(self, precision: Precision) -> str | None:
        """Runs wherever this command does."""
        return None

    def build(self, workshop: Workshop, precision: Precision, batch: int) -> Engine:
        """Copies weights and configuration of the run, enough to make the model again; a network without one runs, and never ships."""
        if workshop.run is not None:
            copy_run(workshop.run, (workshop.folder / self.path(precision)).parent)
        return EagerEngine(workshop.scorer, workshop.spec, batch=batch, threads=workshop.threads)


def copy_run(run: Path, folder: Path) -> None:
    """Writes what makes the model of ``run`` again into ``folder``: weights, and the configuration without this machine's paths."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(run / MODEL_FILE, folder / MODEL_FILE)
    config = RunConfig.load(run / CONFIG_FILE)
    # Where data and weights lay in training is nobody's business on a camera box.
    began_with = [n for n in ("appearance_weights", "motion_weights") if hasattr(config.options, n)]
    options = config.options.model_copy(update=dict.fromkeys(began_with))
    anonymous = {
        "data": Path(config.data).name,
        "mask_folder": None,
        "start_from": None,
        "options": options,
    }
    config.model_copy(update=anonymous).save(folder / CONFIG_FILE)
