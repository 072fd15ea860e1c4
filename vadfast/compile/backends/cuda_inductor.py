"""AOTInductor on an NVIDIA GPU: the scorer as a package of Triton and library kernels that were timed here; needs torch and this kind of GPU.

As on the CPU it is raced as a peer, so that a user sees what torch.compile would have given, and ships only when asked for.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from vadfast.compile.backends import Precision
from vadfast.compile.backends.inductor import InductorBackend, InductorEngine


class CUDAInductorEngine(InductorEngine):
    """A loaded package, called with the batch it was compiled for."""

    backend = "cuda-inductor"
    device = "cuda"
    precisions = ("fp32", "fp16")


class CUDAInductorBackend(InductorBackend):
    """A static-batch package of a GPU."""

    name = "cuda-inductor"
    precisions: tuple[Precision, ...] = ("fp32", "fp16")
    packages: tuple[str, ...] = ("torch", "triton")
    # Products are tried as Triton's and as the libraries', each in several sizes of tiles.
    configs: Mapping[str, Any] = MappingProxyType({"max_autotune": True})
    ahead = False  # which wants the GPU to itself

    @property
    def engine(self) -> type[CUDAInductorEngine]:
        """What loads the package."""
        return CUDAInductorEngine

    def path(self, precision: Precision) -> str:
        """The package."""
        return f"artefacts/cuda-inductor/model.{precision}.pt2"

    def can_run(self, precision: Precision) -> str | None:
        """Needs a GPU that torch can use, and a C++ compiler, at compile time only."""
        import torch

        if not torch.cuda.is_available():
            return "cannot run here: torch finds no NVIDIA GPU"
        return super().can_run(precision)
