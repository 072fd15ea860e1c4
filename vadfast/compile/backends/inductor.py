"""AOTInductor: the scorer as a package of compiled C++; needs torch and this kind of CPU to run.

It is raced as a peer, so that a user sees what torch.compile would have given, and ships only when
asked for.
"""

import copy
import os
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
import numpy.typing as npt

from vadfast.compile.aot_package import Packaging
from vadfast.compile.backends import Precision, Workshop
from vadfast.errors import BackendError, first_line
from vadfast.runtime.engine import Engine, Outputs

if TYPE_CHECKING:
    from torch import nn


class InductorBackend:
    """A static-batch package."""

    name = "inductor"
    precisions: tuple[Precision, ...] = ("fp32",)
    packages: tuple[str, ...] = ("torch",)
    configs: Mapping[str, Any] = MappingProxyType({})  # of Inductor
    ahead = True  # whether it may be begun before it is built: it takes one core, and times nothing

    @property
    def engine(self) -> "type[InductorEngine]":
        """What loads the package."""
        return InductorEngine

    def path(self, precision: Precision) -> str:
        """The package."""
        return "artefacts/inductor/model.pt2"

    def can_run(self, precision: Precision) -> str | None:
        """Needs a C++ compiler, at compile time only."""
        wanted = [os.environ["CXX"]] if "CXX" in os.environ else ["g++", "clang++"]
        if not any(shutil.which(name) for name in wanted):
            return f"cannot be built here: no C++ compiler ({' or '.join(wanted)}); set CXX"
        return None

    def build(self, workshop: Workshop, precision: Precision, batch: int) -> Engine:
        """Waits for the package, which may have been begun before, and loads it."""
        path = self.path(precision)
        with workshop.begun.get(path) or self.begin(workshop, precision, batch) as packaging:
            packaging.finish()
        return self.engine.load(
            workshop.folder / path, precision=precision, batch=batch, threads=workshop.threads
        )

    def begin(self, workshop: Workshop, precision: Precision, batch: int) -> Packaging:
        """Exports the scorer with a fixed batch and starts to compile it. Raises BackendError where it cannot be exported."""
        import torch

        spec, target = workshop.spec, workshop.folder / self.path(precision)
        target.parent.mkdir(parents=True, exist_ok=True)
        window = (spec.n_pictures, spec.height, spec.width, 3)
        scorer, device = workshop.scorer.eval(), self.engine.device
        if device != "cpu":
            scorer = copy.deepcopy(scorer).to(device)
        frames = torch.zeros((batch, *window), dtype=torch.uint8, device=device)
        # torch's export errors share no base but Exception, and a peer that cannot be built is a row
        # of the table with this reason, not the end of the command.
        try:
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                program = torch.export.export(_in(scorer, precision, device), (frames,))
            modules = sorted({type(module).__module__ for module in scorer.modules()})
            return Packaging(program, target, configs=self.configs, modules=modules)
        except Exception as error:
            raise BackendError(f"cannot be built here: {first_line(error)}") from error


def _in(scorer: "nn.Module", precision: Precision, device: str) -> "nn.Module":
    """Returns ``scorer`` in ``precision``; its results are float32 in any."""
    import torch
    from torch import nn

    if precision == "fp32":
        return scorer

    class Half(nn.Module):
        """Under autocast, which keeps sums and logarithms in float32, as on the backend ``cuda``."""

        def __init__(self) -> None:
            super().__init__()
            self.scorer = scorer

        def forward(self, frames: torch.Tensor) -> tuple[torch.Tensor, ...]:
            with torch.autocast(device, torch.float16, cache_enabled=False):
                return tuple(out.float() for out in self.scorer(frames))

    return Half()


class InductorEngine:
    """A loaded package, called with the batch it was compiled for."""

    backend = "inductor"
    device = "cpu"
    precisions: tuple[str, ...] = ("fp32",)

    def __init__(self, package: Any, precision: str, batch: int) -> None:
        """Use ``load``."""
        self._package = package
        self.precision, self.batch = precision, batch

    @classmethod
    def load(
        cls, model_path: Path, *, precision: str, batch: int, threads: int | None = None
    ) -> Self:
        """Loads a package that was compiled for ``batch`` windows.

        Raises:
            BackendError: torch or its GPU is absent, ``precision`` is none of ``precisions``, or the package was built for another machine.
        """
        try:
            import torch
            from torch._inductor import aoti_load_package
        except ImportError as error:
            raise BackendError(f"torch cannot be imported ({error}); pip install torch") from error
        if precision not in cls.precisions:
            raise BackendError(
                f"precision must be {' or '.join(cls.precisions)} in an Inductor package, got {precision!r}"
            )
        if cls.device == "cuda" and not torch.cuda.is_available():
            raise BackendError("torch finds no NVIDIA GPU; take another --backend")
        if threads is not None:
            torch.set_num_threads(threads)
        try:
            package = aoti_load_package(str(model_path))
        except (RuntimeError, OSError) as error:
            raise BackendError(
                f"torch cannot load {model_path}: {first_line(error)}; compile on this machine"
            ) from error
        return cls(package, precision, batch)

    def __call__(self, frames: npt.NDArray[np.uint8]) -> Outputs:
        """Scores ``frames`` uint8 [batch, T, H, W, 3]."""
        if frames.dtype != np.uint8 or frames.ndim != 5 or len(frames) != self.batch:
            raise ValueError(
                f"frames must be uint8 [{self.batch}, T, H, W, 3], got {frames.dtype} {list(frames.shape)}"
            )
        from vadfast.models.eager import run_torch

        def run(frames: Any) -> tuple[Any, ...]:
            return tuple(out.cpu() for out in self._package(frames.to(self.device)))

        try:
            return run_torch(cast("nn.Module", run), frames)
        except RuntimeError as error:
            raise BackendError(
                f"torch cannot run the package: {first_line(error)}; compile on this machine"
            ) from error

    def close(self) -> None:
        """Gives the package back."""
        self._package = None
