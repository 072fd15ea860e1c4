"""Which prototype kernels are compiled ahead of time: APN's unit, and the largest that the backend takes."""

from collections.abc import Iterator
from functools import partial

import torch

from vadfast_kernels.aot import DTYPES, Build, recorded
from vadfast_kernels.prototype_attention import triton_impl

# (C, M): APN's unit with its 10 prototypes, and the largest sizes; both at APN's positions.
SHAPES = ((128, 10), (256, 32))
_POSITIONS = 256 * 256


def builds() -> Iterator[Build]:
    """Yields the kernels of forward and backward at each shape and dtype."""
    for c, m in SHAPES:
        for dtype, t in DTYPES.items():
            where = f"C{c} M{m} {t}"
            ours = partial(torch.empty, device="meta")  # float32 whatever the caller's
            z, dy = (ours((2, _POSITIONS, c), dtype=dtype) for _ in range(2))
            weight, p, dp = ours((m, c), dtype=dtype), ours((2, m, c)), ours((2, m, c))
            lse, length, dcompactness = ours((2, m)), ours((2, m)), ours((2, _POSITIONS))
            yield from recorded(where, partial(triton_impl.forward, z, weight))
            arguments = (z, weight, p, lse, length, dy, dp, dcompactness)
            yield from recorded(where, partial(triton_impl.backward, *arguments))
