"""The model as PyTorch runs it, float32: the engine that all other engines are judged by."""

from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from vadfast.errors import BackendError
from vadfast.runtime.engine import Outputs
from vadfast.runtime.manifest import InputSpec


class EagerEngine:
    """Calls the scorer directly; ``threads`` is torch's own count and holds for the whole process."""

    backend = "eager"
    precision = "fp32"

    def __init__(
        self, scorer: nn.Module, spec: InputSpec, *, batch: int = 1, threads: int | None = None
    ) -> None:
        """Takes ``scorer`` as it is: uint8 [B, T, H, W, 3] -> (components [B, K], heatmap [B, h, w])."""
        if threads is not None:
            torch.set_num_threads(threads)
        self._scorer = scorer.eval()
        self._shape = (batch, spec.n_pictures, spec.height, spec.width, 3)
        self.batch = batch

    @classmethod
    def load(
        cls, model_path: Path, *, precision: str, batch: int, threads: int | None = None
    ) -> Self:
        """Reads the run directory that holds ``model_path`` (model.safetensors beside run.toml).

        Raises:
            BackendError: ``precision`` is not fp32.
        """
        from vadfast.models.registry import load_run

        if precision != "fp32":
            raise BackendError(
                f"precision must be fp32 in eager PyTorch, the reference, got {precision!r}"
            )
        model = load_run(model_path.parent)
        return cls(model.scorer, model.input, batch=batch, threads=threads)

    def __call__(self, frames: npt.NDArray[np.uint8]) -> Outputs:
        """Scores ``frames`` uint8 [batch, T, H, W, 3]."""
        if frames.dtype != np.uint8 or frames.shape != self._shape:
            raise ValueError(
                f"frames must be uint8 {list(self._shape)}, got {frames.dtype} {list(frames.shape)}"
            )
        return run_torch(self._scorer, frames)

    def close(self) -> None:
        """Holds nothing but the model, which belongs to the caller."""


def run_torch(function: nn.Module, frames: npt.NDArray[np.uint8]) -> Outputs:
    """Calls a torch function on NumPy frames; its results are new arrays.

    torch wants a writable buffer even to read from it, and a window of the ring is none: such frames are copied.
    """
    writable = np.require(frames, requirements=["C", "W"])
    with torch.inference_mode():
        components, heatmap = function(torch.from_numpy(writable))
    return Outputs(np.array(components.numpy(), np.float32), np.array(heatmap.numpy(), np.float32))
