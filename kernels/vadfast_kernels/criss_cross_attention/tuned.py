"""Block sizes of the criss-cross kernels: a stated rule, checked ahead of time on every architecture (no spills).

Not autotuned at the first call: the same call is the same kernel everywhere, and nobody waits for a search in production.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from triton import next_power_of_2

Kernel = Literal["fwd", "bwd_qk", "bwd_v"]

# Registers of a thread, 4 blocks a multiprocessor. ptxas aims at as many by itself, and then keeps an address in memory around the
# loop; told to, it finds room. Tiles of 64 queries need more, and are left to it.
_NARROW = 128
_MIN_DOT = 16  # the smallest side of a matrix instruction


@dataclass(frozen=True, slots=True)
class Blocks:
    """Tile sizes and launch options of one kernel."""

    query: int
    key: int
    d: int
    c: int
    n_warps: int
    n_stages: int
    max_registers: int | None = None

    def launch(self) -> dict[str, int | None]:
        """Returns how Triton is to compile the kernel."""
        return {
            "num_warps": self.n_warps, "num_stages": self.n_stages, "maxnreg": self.max_registers,
        }  # fmt: skip


def block_sizes(kernel: Kernel, length: int, d: int, c: int, dtype: torch.dtype) -> Blocks:
    """Returns the tiles for lines of ``length`` positions, ``d`` query and ``c`` value channels."""
    block_d, block_c = _dot_side(d), min(_dot_side(c), 128)
    # Exact float32 products have no matrix instruction: their tiles live in registers too, and must be smaller.
    exact = dtype == torch.float32
    if kernel != "fwd":
        # 64 positions spilled on every architecture (224 bytes on sm_90): gradients hold two tiles more than the forward.
        side = min(_dot_side(length), 16 if exact and block_d >= 32 else 32)
        if not exact:
            chunk = 64
        elif kernel == "bwd_v":
            chunk = 32
        else:
            # As wide as the queries: elsewhere ptxas keeps an address or two in memory on one architecture or another.
            chunk = min(block_d, 64)
        limit = None if exact else _NARROW
        return Blocks(side, side, block_d, min(block_c, chunk), 4, 2, limit)
    if exact:
        side = min(_dot_side(length), 32)
        # With two stages 64 x 32 x 256 kept 8 bytes in memory around the loop (sm_90).
        return Blocks(side, side, block_d, min(block_c, 64), 4, 3)
    side = min(_dot_side(length), 64 if block_d <= 32 else 32)
    if side <= 32:
        return Blocks(side, side, block_d, block_c, 4, 2, _NARROW)
    return Blocks(side, side, block_d, block_c, 4 if block_c <= 64 else 8, 2)


def delta_blocks(c: int) -> tuple[int, int, int]:
    """Returns positions and channels of a tile of dy and of y, and warps: 16 numbers of each a thread."""
    block_c = min(_dot_side(c), 128)
    return 2048 // block_c, block_c, 4


def _dot_side(n: int) -> int:
    return max(_MIN_DOT, next_power_of_2(n))
