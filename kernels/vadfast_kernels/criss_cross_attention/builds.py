"""Which criss-cross kernels are compiled ahead of time: those that the models' shapes lead to."""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from vadfast_kernels.aot import DTYPES, Build, recorded
from vadfast_kernels.criss_cross_attention import triton_impl

# (line length, D, C): APN's three levels, CCNet's head, and a line shorter than a tile.
SHAPES = ((256, 8, 64), (128, 16, 128), (64, 32, 256), (97, 64, 512), (9, 8, 16))


def builds() -> Iterator[Build]:
    """Yields the kernels of forward and backward, rows and columns, at each shape and dtype."""
    for length, d, c in SHAPES:
        for dtype, t in DTYPES.items():
            where = f"L{length} D{d} C{c} {t}"
            q, k = _maps(length, d, dtype), _maps(length, d, dtype)
            v, y, dy = (_maps(length, c, dtype) for _ in range(3))
            state = torch.empty((2, length, length, 2), device="meta")
            yield from recorded(where, partial(triton_impl.forward, q, k, v))
            yield from recorded(where, partial(triton_impl.backward, q, k, v, y, state, dy))


def _maps(length: int, channels: int, dtype: torch.dtype) -> Tensor:
    x = torch.empty((2, length, length, channels), dtype=dtype, device="meta")
    return x.movedim(-1, 1)
