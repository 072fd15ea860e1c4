"""Which prototype kernels are compiled ahead of time: APN's unit, and the largest that the backend takes."""

from collections.abc import Iterator
from typing import Any

import torch

from vadfast_kernels.aot import Build
from vadfast_kernels.prototype_attention import triton_impl
from vadfast_kernels.prototype_attention.tuned import MAX_SPLITS, block_sizes

# (C, M): APN's unit with its 10 prototypes, and the largest sizes.
SHAPES = ((128, 10), (256, 32))
_TYPE = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}


def builds() -> Iterator[Build]:
    """Yields each kernel at each shape and dtype."""
    for c, m in SHAPES:
        merging = {"ALL_SPLITS": MAX_SPLITS, "BLOCK_S": 8, "BLOCK_C": c}
        kernel = triton_impl._prototype_merge_kernel
        yield _build(f"prototype_merge C{c} M{m}", kernel, "fp32", merging, 4, 2)
        for dtype, t in _TYPE.items():
            for stem in ("sum", "retrieve", "bwd_p", "bwd_z"):
                blocks = block_sizes("bwd" if stem.startswith("bwd") else "fwd", c, m, dtype)
                sizes: dict[str, Any] = {
                    "BLOCK_N": blocks.n, "BLOCK_C": blocks.c, "BLOCK_K": blocks.k, "BLOCK_M": blocks.m,
                    "PRECISION": "ieee" if dtype == torch.float32 else "tf32",
                }  # fmt: skip
                kernel = getattr(triton_impl, f"_prototype_{stem}_kernel")
                name = f"prototype_{stem} C{c} M{m} {t}"
                yield _build(name, kernel, t, sizes, blocks.n_warps, blocks.n_stages)


def _build(
    name: str, kernel: Any, dtype: str, constants: dict[str, Any], n_warps: int, n_stages: int
) -> Build:
    # What the caller's tensors are; everything else is ours, and float32.
    callers = {n: dtype for n in ("y_ptr", "z_ptr", "w_ptr", "dy_ptr", "dz_ptr")}
    types = {
        n: f"*{callers.get(n, 'fp32')}" if n.endswith("_ptr") else "i32" for n in kernel.arg_names
    }
    return Build(name, kernel, types, constants, n_warps, n_stages)
