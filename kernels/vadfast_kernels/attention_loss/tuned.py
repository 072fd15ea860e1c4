"""Tiles of the attention-loss kernels: a stated rule, checked ahead of time on every architecture (no spills).

Not autotuned at the first call: the partial sums of a loss, and so its last bit, would depend on who won.
"""

from dataclasses import dataclass

from triton import next_power_of_2

_MAX_WIDTH = 128  # a row is then a warp's widest read of float32
_PIXELS = 1024  # of a tile: its neighbours are then a quarter more to read
# 2 a thread take at most 64 registers; 4 took 80 to 94 and spilled in float16, 8 took up to 192.
_PIXELS_PER_WARP = 64
PARTS = 1024  # of a term that one program adds up in a step
SUM_WARPS = 8


@dataclass(frozen=True, slots=True)
class Blocks:
    """Tile sizes and launch options."""

    height: int
    width: int
    n_warps: int


def block_sizes(height: int, width: int) -> Blocks:
    """Returns the tile for planes of ``height`` x ``width`` pixels."""
    tile_width = min(next_power_of_2(width), _MAX_WIDTH)
    tile_height = min(next_power_of_2(height), _PIXELS // tile_width)
    n_warps = max(1, tile_height * tile_width // _PIXELS_PER_WARP)
    return Blocks(tile_height, tile_width, n_warps)
