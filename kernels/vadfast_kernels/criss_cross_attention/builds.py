"""Which criss-cross kernels are compiled ahead of time: those that the models' shapes lead to."""

from collections.abc import Iterator

import torch

from vadfast_kernels import _triton
from vadfast_kernels.aot import DTYPES, Build, build
from vadfast_kernels.criss_cross_attention import triton_impl
from vadfast_kernels.criss_cross_attention.tuned import block_sizes

# (line length, D, C): APN's three levels, CCNet's head, and a line shorter than a tile.
SHAPES = ((256, 8, 64), (128, 16, 128), (64, 32, 256), (97, 64, 512), (9, 8, 16))


def builds() -> Iterator[Build]:
    """Yields each kernel, row and column, at each shape and dtype."""
    for length, d, c in SHAPES:
        for dtype, t in DTYPES.items():
            for column in (False, True):
                where = f"L{length} D{d} C{c} {t} {'column' if column else 'row'}"
                yield _forward(where, length, d, c, dtype, column)
                yield from _backward(where, length, d, c, dtype, column)


def _forward(where: str, length: int, d: int, c: int, dtype: torch.dtype, column: bool) -> Build:
    blocks = block_sizes("fwd", length, d, c, dtype)
    types = dict.fromkeys(("q_ptr", "k_ptr", "v_ptr"), f"*{DTYPES[dtype]}")
    constants = {
        "BLOCK_Q": blocks.query, "BLOCK_K": blocks.key, "BLOCK_D": blocks.d, "BLOCK_C": blocks.c, "COLUMN": column,
    } | _triton.dot_options(dtype)  # fmt: skip
    return build(
        f"criss_cross_fwd {where}", triton_impl._criss_cross_fwd_kernel,
        types | _out("y_ptr", dtype, column), constants, blocks.n_warps, blocks.n_stages,
    )  # fmt: skip


def _backward(
    where: str, length: int, d: int, c: int, dtype: torch.dtype, column: bool
) -> Iterator[Build]:
    blocks = block_sizes("bwd", length, d, c, dtype)
    launch = (blocks.n_warps, blocks.n_stages)
    constants = {
        "BLOCK": blocks.query, "BLOCK_D": blocks.d, "BLOCK_C": blocks.c, "COLUMN": column,
    } | _triton.dot_options(dtype)  # fmt: skip
    callers = ("own_ptr", "other_ptr", "own_wide_ptr", "other_wide_ptr")
    types = dict.fromkeys(callers, f"*{DTYPES[dtype]}") | _out("grad_ptr", dtype, column)
    kernel = triton_impl._criss_cross_bwd_qk_kernel
    for own_is_query in (False, True):
        name = f"criss_cross_bwd_{'q' if own_is_query else 'k'} {where}"
        yield build(name, kernel, types, constants | {"OWN_IS_QUERY": own_is_query}, *launch)
    types = dict.fromkeys(("q_ptr", "k_ptr", "dy_ptr"), f"*{DTYPES[dtype]}")
    types |= _out("dv_ptr", dtype, column)
    kernel = triton_impl._criss_cross_bwd_v_kernel
    yield build(f"criss_cross_bwd_v {where}", kernel, types, constants, *launch)


def _out(name: str, dtype: torch.dtype, column: bool) -> dict[str, str]:
    """The type of what a pass writes: rows hand float32 on to columns."""
    return {name: f"*{DTYPES[dtype]}" if column else "*fp32"}
