"""Block sizes of the prototype kernels: a stated rule, checked ahead of time on every architecture (no spills)."""

from dataclasses import dataclass
from typing import Literal

import torch
from triton import next_power_of_2

_MIN_DOT = 16  # the smallest side of a matrix instruction
_SUMS = 2048  # numbers that a program adds up over positions; more channels are more programs
# Programs that share the sums over an image's positions: about the multiprocessors of a large GPU, and the same everywhere, because
# sums in another order are other sums.
MAX_SPLITS = 128


@dataclass(frozen=True, slots=True)
class Blocks:
    """Tile sizes and launch options of the kernels."""

    n: int
    c: int  # channels whose sums a program keeps
    k: int  # channels of one step of a product
    m: int
    n_warps: int
    n_stages: int

    def per_split(self, n_positions: int) -> int:
        """Returns how many positions, whole tiles, one program sums over."""
        n_tiles = -(-n_positions // self.n)
        return self.n * -(-n_tiles // MAX_SPLITS)


def block_sizes(direction: Literal["fwd", "bwd"], c: int, m: int, dtype: torch.dtype) -> Blocks:
    """Returns the tiles for ``c`` channels and ``m`` prototypes."""
    block_m = _dot_side(m)
    block_c = min(_dot_side(c), _SUMS // block_m)
    # Exact float32 products have no matrix instruction: both operands of a step are in registers, and whole channels spilled.
    exact = dtype == torch.float32
    # Gradients hold four products at once: with 4 warps, or tiles of 32, they spilled 76 to 430 bytes.
    if exact or direction == "bwd":
        return Blocks(16, block_c, 16, block_m, 8 if direction == "bwd" else 4, 2)
    return Blocks(32, block_c, min(block_c, 32), block_m, 4, 2)


def _dot_side(n: int) -> int:
    return max(_MIN_DOT, next_power_of_2(n))
