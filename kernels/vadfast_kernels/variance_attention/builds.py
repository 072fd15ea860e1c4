"""Which variance kernels are compiled ahead of time: those that STD's three motion blocks lead to."""

from collections.abc import Iterator
from functools import partial

import torch

from vadfast_kernels.aot import DTYPES, Build, recorded
from vadfast_kernels.variance_attention import triton_impl

# (C, cells in a row, cell): STD's motion blocks 1 to 3.
SHAPES = ((64, 16, 8), (128, 16, 4), (256, 16, 2))
_FORMATS = {"planes": torch.contiguous_format, "channels last": torch.channels_last}


def builds() -> Iterator[Build]:
    """Yields the kernels of forward and backward at each shape, memory format and dtype."""
    for c, n_cells, cell in SHAPES:
        for dtype, t in DTYPES.items():
            for layout, memory_format in _FORMATS.items():
                where = f"C{c} cells{n_cells} cell{cell} {t} {layout}"
                shape = (8, c, n_cells * cell, n_cells * cell)
                like = partial(torch.empty, dtype=dtype, device="meta")
                x, dy = (like(shape, memory_format=memory_format) for _ in range(2))
                weight, bias = like((c, c)), like((c,))
                v = torch.empty((8, n_cells * n_cells), device="meta")
                arguments = (cell, "code")
                yield from recorded(
                    where, partial(triton_impl.forward, x, weight, bias, *arguments)
                )
                yield from recorded(
                    where, partial(triton_impl.backward, x, weight, bias, v, dy, *arguments)
                )
