"""Which of STA's kernels are compiled ahead of time: both forms, at STA's segments and features."""

from collections.abc import Iterator
from functools import partial

import torch

from vadfast_kernels.aot import Build, recorded
from vadfast_kernels.sta_attention import circle, triton_impl, tuned
from vadfast_kernels.sta_attention.op import MAX_ERROR

SHAPE = (2, 32, 2048)  # bags of STA: only whether C is a multiple of 16 makes another kernel
# By what is asked for: harmonics of the default, and the most; 0 is the exact form.
HARMONICS = (circle.harmonics_for(MAX_ERROR), tuned.MAX_HARMONICS, 0)
CHANNELS = 10  # of q and k, in STA


def builds() -> Iterator[Build]:
    """Yields the kernels of forward and backward."""
    for n in HARMONICS:
        where = f"n{n}" if n else "exact"
        f, dy = (torch.empty(SHAPE, device="meta") for _ in range(2))
        w = torch.empty(CHANNELS, device="meta")
        side = 2 * n + 1 if n else 0
        planes = torch.empty(10, device="meta")
        kernel = torch.empty((side, side), device="meta")
        yield from recorded(where, partial(triton_impl.prepare, w, w, w, w, n))
        yield from recorded(where, partial(triton_impl.forward, f, planes, kernel))
        yield from recorded(where, partial(triton_impl.backward, f, planes, kernel, dy))
