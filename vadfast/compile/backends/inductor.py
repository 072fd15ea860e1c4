"""AOTInductor: the scorer as a package of compiled C++; needs torch and this kind of CPU to run.

It is raced as a peer, so that a user sees what torch.compile would have given, and ships only when
asked for.
"""

import os
import shutil
import warnings
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from vadfast.compile.backends import Precision, Workshop
from vadfast.errors import BackendError, first_line
from vadfast.runtime.engine import Engine, Outputs


class InductorBackend:
    """A static-batch package."""

    name = "inductor"
    precisions: tuple[Precision, ...] = ("fp32",)
    packages: tuple[str, ...] = ("torch",)

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
        """Exports the scorer with a fixed batch, compiles it and loads the package."""
        import torch
        from torch._inductor import aoti_compile_and_package

        spec, target = workshop.spec, workshop.folder / self.path(precision)
        target.parent.mkdir(parents=True, exist_ok=True)
        window = (spec.n_pictures, spec.height, spec.width, 3)
        frames = torch.zeros((batch, *window), dtype=torch.uint8)
        # torch's compile errors share no base but Exception, and a peer that cannot be built is a row
        # of the table with this reason, not the end of the command.
        try:
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                program = torch.export.export(workshop.scorer.eval(), (frames,))
                aoti_compile_and_package(program, package_path=str(target))
        except Exception as error:
            raise BackendError(f"cannot be built here: {first_line(error)}") from error
        return InductorEngine.load(
            target, precision=precision, batch=batch, threads=workshop.threads
        )


class InductorEngine:
    """A loaded package, called with the batch it was compiled for."""

    backend = "inductor"
    precision = "fp32"

    def __init__(self, package: Any, batch: int) -> None:
        """Use ``load``."""
        self._package = package
        self.batch = batch

    @classmethod
    def load(
        cls, model_path: Path, *, precision: str, batch: int, threads: int | None = None
    ) -> Self:
        """Loads a package that was compiled for ``batch`` windows.

        Raises:
            BackendError: torch is absent, ``precision`` is not fp32, or the package was built for another machine.
        """
        try:
            import torch
            from torch._inductor import aoti_load_package
        except ImportError as error:
            raise BackendError(f"torch cannot be imported ({error}); pip install torch") from error
        if precision != "fp32":
            raise BackendError(f"precision must be fp32 in an Inductor package, got {precision!r}")
        if threads is not None:
            torch.set_num_threads(threads)
        try:
            package = aoti_load_package(str(model_path))
        except (RuntimeError, OSError) as error:
            raise BackendError(
                f"torch cannot load {model_path}: {first_line(error)}; compile on this machine"
            ) from error
        return cls(package, batch)

    def __call__(self, frames: npt.NDArray[np.uint8]) -> Outputs:
        """Scores ``frames`` uint8 [batch, T, H, W, 3]."""
        if frames.dtype != np.uint8 or frames.ndim != 5 or len(frames) != self.batch:
            raise ValueError(
                f"frames must be uint8 [{self.batch}, T, H, W, 3], got {frames.dtype} {list(frames.shape)}"
            )
        from vadfast.models.eager import run_torch

        return run_torch(self._package, frames)

    def close(self) -> None:
        """Gives the package back."""
        self._package = None
