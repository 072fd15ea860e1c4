"""Which criss-cross kernels are compiled ahead of time: those that the models' shapes lead to."""

from collections.abc import Iterator
from typing import Any

import torch

from vadfast_kernels.aot import Build
from vadfast_kernels.criss_cross_attention import triton_impl
from vadfast_kernels.criss_cross_attention.tuned import Blocks, block_sizes

# (line length, D, C): APN's three levels, CCNet's head, and a line shorter than a tile.
SHAPES = ((256, 8, 64), (128, 16, 128), (64, 32, 256), (97, 64, 512), (9, 8, 16))
_TYPE = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}


def builds() -> Iterator[Build]:
    """Yields each kernel, row and column, at each shape and dtype."""
    for length, d, c in SHAPES:
        for dtype, t in _TYPE.items():
            for column in (False, True):
                where = f"L{length} D{d} C{c} {t} {'column' if column else 'row'}"
                yield _forward(where, length, d, c, dtype, column)
                yield from _backward(where, length, d, c, dtype, column)


def _forward(where: str, length: int, d: int, c: int, dtype: torch.dtype, column: bool) -> Build:
    blocks, t = block_sizes("fwd", length, d, c, dtype), _TYPE[dtype]
    pointers = {
        "y_ptr": t if column else "fp32",
        "lse_ptr": "fp32",
        "q_ptr": t,
        "k_ptr": t,
        "v_ptr": t,
        "acc_ptr": "fp32",
        "acc_lse_ptr": "fp32",
    }
    constants = {
        "BLOCK_Q": blocks.query, "BLOCK_K": blocks.key, "BLOCK_D": blocks.d, "BLOCK_C": blocks.c, "COLUMN": column,
    }  # fmt: skip
    kernel = triton_impl._criss_cross_fwd_kernel
    return _build(f"criss_cross_fwd {where}", kernel, pointers, constants, blocks, dtype)


def _backward(
    where: str, length: int, d: int, c: int, dtype: torch.dtype, column: bool
) -> Iterator[Build]:
    blocks, t = block_sizes("bwd", length, d, c, dtype), _TYPE[dtype]
    sizes = {"BLOCK": blocks.query, "BLOCK_D": blocks.d, "BLOCK_C": blocks.c, "COLUMN": column}
    out = t if column else "fp32"
    for own_is_query in (False, True):
        pointers = {
            "grad_ptr": out,
            "own_ptr": t,
            "other_ptr": t,
            "own_wide_ptr": t,
            "other_wide_ptr": t,
            "lse_ptr": "fp32",
            "delta_ptr": "fp32",
            "row_ptr": "fp32",
        }
        name = f"criss_cross_bwd_{'q' if own_is_query else 'k'} {where}"
        kernel = triton_impl._criss_cross_bwd_qk_kernel
        yield _build(name, kernel, pointers, sizes | {"OWN_IS_QUERY": own_is_query}, blocks, dtype)
    pointers = {
        "dv_ptr": out,
        "q_ptr": t,
        "k_ptr": t,
        "dy_ptr": t,
        "lse_ptr": "fp32",
        "row_ptr": "fp32",
    }
    kernel = triton_impl._criss_cross_bwd_v_kernel
    yield _build(f"criss_cross_bwd_v {where}", kernel, pointers, sizes, blocks, dtype)


def _build(
    name: str, kernel: Any, pointers: dict[str, str], constants: dict[str, Any], blocks: Blocks,
    dtype: torch.dtype,
) -> Build:  # fmt: skip
    constants = constants | {
        "UPCAST": False,
        "PRECISION": "ieee" if dtype == torch.float32 else "tf32",
    }
    types = {n: f"*{pointers[n]}" if n in pointers else "i32" for n in kernel.arg_names}
    return Build(name, kernel, types, constants, blocks.n_warps, blocks.n_stages)
