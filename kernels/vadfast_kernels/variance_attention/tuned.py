"""Block sizes of the variance kernels: a stated rule, checked ahead of time on every architecture (no spills)."""

from dataclasses import dataclass

from triton import next_power_of_2

_TILE = 1024  # elements a program holds of x: 4 a thread; 8 and 16, with their addresses, spilled
_LINE = 128  # positions of a row that a program reads together: whole cache lines where a row is contiguous
GAIN_WARPS = 8  # for the cells of an image: 4 a thread and step


@dataclass(frozen=True, slots=True)
class Tile:
    """Sides of a tile of x, and how many warps work on it."""

    c: int
    w: int
    cell: int
    n_warps: int


@dataclass(frozen=True, slots=True)
class Blocks:
    """Tiles of the product, and launch options."""

    positions: int
    c: int
    d: int
    n_warps: int
    n_stages: int


def tile_of(c: int, n_cells: int, cell: int) -> Tile:
    """Returns the tile for ``c`` channels and rows of ``n_cells`` cells."""
    side = next_power_of_2(cell)
    w = min(next_power_of_2(n_cells), max(1, _LINE // side))
    return Tile(min(next_power_of_2(c), max(1, _TILE // (w * side))), w, side, 8)


def block_sizes(c: int, d: int) -> Blocks:
    """Returns the tiles of the product of ``c`` and ``d`` channels; 16 is the smallest side of a matrix instruction."""
    return Blocks(
        16, min(max(16, next_power_of_2(c)), 32), min(max(16, next_power_of_2(d)), 64), 4, 2
    )


def line_of(n_cells: int) -> int:
    """Returns how many of an image's ``n_cells`` a program takes in a step."""
    return min(next_power_of_2(n_cells), GAIN_WARPS * 32 * 4)
