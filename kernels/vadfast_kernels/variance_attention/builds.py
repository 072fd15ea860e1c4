"""Which variance kernels are compiled ahead of time: those that STD's three motion blocks lead to."""

from collections.abc import Iterator

import torch

from vadfast_kernels import _triton
from vadfast_kernels.aot import DTYPES, Build, build
from vadfast_kernels.variance_attention import triton_impl
from vadfast_kernels.variance_attention.tuned import block_sizes, tile_of

# (C, cells in a row, cell): STD's motion blocks 1 to 3.
SHAPES = ((64, 16, 8), (128, 16, 4), (256, 16, 2))


def builds() -> Iterator[Build]:
    """Yields each kernel at each shape and dtype."""
    for c, n_cells, cell in SHAPES:
        for dtype, t in DTYPES.items():
            yield _square(f"C{c} {t}", c, dtype)
            # The stride that is 1: contiguous, and for the largest tile of cells also channels last.
            for unit in ("w", "c") if cell == 8 else ("w",):
                where = f"C{c} cells{n_cells} cell{cell} {t} {unit}"
                for backward in (False, True):
                    yield from _passes(where, c, n_cells, cell, t, unit, backward)


def _passes(
    where: str, c: int, n_cells: int, cell: int, t: str, unit: str, backward: bool
) -> Iterator[Build]:
    tile = tile_of(c, n_cells, cell)
    constants = {
        "CELL": cell, "BLOCK_C": tile.c, "BLOCK_W": tile.w, "BLOCK_CELL": tile.cell, "BACKWARD": backward,
    }  # fmt: skip
    direction = "bwd" if backward else "fwd"
    types = dict.fromkeys(("x_ptr", "dy_ptr"), f"*{t}")
    ones = {f"x_{unit}": 1, f"dy_{unit}": 1}
    kernel = triton_impl._variance_pool_kernel
    yield build(
        f"variance_pool_{direction} {where}", kernel, types, constants | ones, tile.n_warps, 3
    )
    types = dict.fromkeys(("y_ptr", "x_ptr"), f"*{t}")
    ones = {f"x_{unit}": 1, f"y_{unit}": 1}
    kernel = triton_impl._variance_scale_kernel
    yield build(
        f"variance_scale_{direction} {where}", kernel, types, constants | ones, tile.n_warps, 3
    )


def _square(where: str, c: int, dtype: torch.dtype) -> Build:
    blocks = block_sizes(c, c)
    constants = {
        "BLOCK_N": blocks.positions, "BLOCK_C": blocks.c, "BLOCK_D": blocks.d, "BIAS": True,
        "PRECISION": _triton.precision_of(dtype),
    }  # fmt: skip
    kernel = triton_impl._variance_square_kernel
    types = {"share": "fp32"}
    return build(
        f"variance_square {where}", kernel, types, constants, blocks.n_warps, blocks.n_stages
    )
