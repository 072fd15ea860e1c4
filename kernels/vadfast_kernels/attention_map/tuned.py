"""Tiles of the attention map's kernels: a stated rule, checked ahead of time on every architecture (no spills).

Not measured on a GPU yet: both kernels move bytes and compute little.
"""

from dataclasses import dataclass

from triton import next_power_of_2

_MAX_WIDTH = 128  # a row is then a warp's widest read of float32
_VALUES = 1024  # of a tile
_VALUES_PER_WARP = 128  # 4 a thread; 8 spilled on sm_80 where channels are last


@dataclass(frozen=True, slots=True)
class Blocks:
    """Tile sizes and launch options: ``height`` x ``width`` pixels where M is made, ``line`` values where it is scaled."""

    height: int
    width: int
    n_warps: int
    line: int = _VALUES
    n_line_warps: int = _VALUES // _VALUES_PER_WARP


def block_sizes(height: int, width: int) -> Blocks:
    """Returns the tiles for planes of ``height`` x ``width`` pixels."""
    tile_width = min(next_power_of_2(width), _MAX_WIDTH)
    tile_height = min(next_power_of_2(height), _VALUES // tile_width)
    return Blocks(tile_height, tile_width, max(1, tile_height * tile_width // _VALUES_PER_WARP))
