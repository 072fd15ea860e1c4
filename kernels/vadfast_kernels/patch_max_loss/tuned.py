"""Tiles of the patch-max kernels: a stated rule, checked ahead of time on every architecture (no spills).

Not autotuned at the first call: the partial sums of a loss, and so its last bit, would depend on who won.
"""

from dataclasses import dataclass

from triton import next_power_of_2

_MAX_LINE = 128  # a row is then a warp's widest read of float32
_VALUES = 1024  # of a tile
_VALUES_PER_WARP = 256  # 8 a thread: two loads of 16 bytes each from prediction and target
WORST_WARPS = 4
_SUMS = 1024  # of strips, that the program of a sample adds up in a step


@dataclass(frozen=True, slots=True)
class Blocks:
    """Tile sizes and launch options."""

    height: int
    line: int
    n_warps: int


def block_sizes(height: int, line: int) -> Blocks:
    """Returns the tile for patches of ``height`` rows of ``line`` values."""
    tile_line = min(next_power_of_2(line), _MAX_LINE)
    tile_height = min(next_power_of_2(height), _VALUES // tile_line)
    n_warps = max(1, tile_height * tile_line // _VALUES_PER_WARP)
    return Blocks(tile_height, tile_line, n_warps)


def worst_tile(n_patches: int) -> tuple[int, int]:
    """Returns how many patches, and how many strips of each, the program of a sample takes in a step."""
    patches = min(next_power_of_2(n_patches), _SUMS // 16)
    return patches, _SUMS // patches
