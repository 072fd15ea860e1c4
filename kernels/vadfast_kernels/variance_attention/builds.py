"""Which variance kernels are compiled ahead of time: those that STD's three motion blocks lead to."""

from collections.abc import Iterator
from typing import Any

import torch

from vadfast_kernels.aot import Build
from vadfast_kernels.variance_attention import triton_impl
from vadfast_kernels.variance_attention.tuned import block_sizes, tile_of

# (C, cells in a row, cell): STD's motion blocks 1 to 3.
SHAPES = ((64, 16, 8), (128, 16, 4), (256, 16, 2))
_TYPE = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}


def builds() -> Iterator[Build]:
    """Yields each kernel at each shape and dtype."""
    for c, n_cells, cell in SHAPES:
        for dtype, t in _TYPE.items():
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
    pointers = {"pooled_ptr": "fp32", "dgain_ptr": "fp32", "x_ptr": t, "dy_ptr": t}
    ones = {f"x_{unit}": 1, f"dy_{unit}": 1}
    kernel = triton_impl._variance_pool_kernel
    yield _build(
        f"variance_pool_{direction} {where}", kernel, pointers, constants | ones, tile.n_warps, 3
    )
    pointers = {"y_ptr": t, "x_ptr": t, "gain_ptr": "fp32", "add_ptr": "fp32"}
    ones = {f"x_{unit}": 1, f"y_{unit}": 1}
    kernel = triton_impl._variance_scale_kernel
    yield _build(
        f"variance_scale_{direction} {where}", kernel, pointers, constants | ones, tile.n_warps, 3
    )


def _square(where: str, c: int, dtype: torch.dtype) -> Build:
    blocks = block_sizes(c, c)
    constants = {
        "BLOCK_N": blocks.positions, "BLOCK_C": blocks.c, "BLOCK_D": blocks.d, "BIAS": True,
        "PRECISION": "ieee" if dtype == torch.float32 else "tf32",
    }  # fmt: skip
    pointers = {"v_ptr": "fp32", "pooled_ptr": "fp32", "weight_ptr": "fp32", "bias_ptr": "fp32"}
    kernel = triton_impl._variance_square_kernel
    return _build(
        f"variance_square {where}", kernel, pointers, constants, blocks.n_warps, blocks.n_stages
    )


def _build(
    name: str, kernel: Any, pointers: dict[str, str], constants: dict[str, Any], n_warps: int, n_stages: int
) -> Build:  # fmt: skip
    scalars = {"share": "fp32"}
    types = {
        n: f"*{pointers[n]}" if n in pointers else scalars.get(n, "i32") for n in kernel.arg_names
    }
    return Build(name, kernel, types, constants, n_warps, n_stages)
