"""Which prototype kernels are compiled ahead of time: APN's unit, and the largest that the backend takes."""

from collections.abc import Iterator
from typing import Any

from vadfast_kernels import _triton
from vadfast_kernels.aot import DTYPES, Build, build
from vadfast_kernels.prototype_attention import triton_kernels
from vadfast_kernels.prototype_attention.tuned import MAX_SPLITS, block_sizes

# (C, M): APN's unit with its 10 prototypes, and the largest sizes.
SHAPES = ((128, 10), (256, 32))
# What the caller's tensors are; everything else is ours, and float32.
_CALLERS = ("y_ptr", "z_ptr", "w_ptr", "dy_ptr", "dz_ptr")


def builds() -> Iterator[Build]:
    """Yields each kernel at each shape and dtype."""
    for c, m in SHAPES:
        merging = {"ALL_SPLITS": MAX_SPLITS, "BLOCK_S": 8, "BLOCK_C": c}
        kernel = triton_kernels.prototype_merge_kernel
        yield build(f"prototype_merge C{c} M{m}", kernel, {}, merging, 4, 2)
        for dtype, t in DTYPES.items():
            for stem in ("sum", "retrieve", "bwd_p", "bwd_z"):
                blocks = block_sizes("bwd" if stem.startswith("bwd") else "fwd", c, m, dtype)
                sizes: dict[str, Any] = {
                    "BLOCK_N": blocks.n, "BLOCK_C": blocks.c, "BLOCK_K": blocks.k, "BLOCK_M": blocks.m,
                    "PRECISION": _triton.precision_of(dtype),
                }  # fmt: skip
                kernel = getattr(triton_kernels, f"prototype_{stem}_kernel")
                name = f"prototype_{stem} C{c} M{m} {t}"
                types = {n: f"*{t}" for n in kernel.arg_names if n in _CALLERS}
                yield build(name, kernel, types, sizes, blocks.n_warps, blocks.n_stages)
