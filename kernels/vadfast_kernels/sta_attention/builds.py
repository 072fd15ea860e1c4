"""Which of STA's kernels are compiled ahead of time: both forms, at STA's segments and features."""

from collections.abc import Iterator
from functools import partial

import torch

from vadfast_kernels.aot import Build, recorded
from vadfast_kernels.sta_attention import circle, triton_impl, tuned
from vadfast_kernels.sta_attention.op import MAX_ERROR

SHAPE = (2, 32, 2048)  # bags of STA: only whether C is a multiple of 16 makes another kernel
# By what is asked for: harmonics of the default, and the most.
HARMONICS = (circle.harmonics_for(MAX_ERROR), tuned.MAX_HARMONICS)


def builds() -> Iterator[Build]:
    """Yields the kernels of forward and backward."""
    forms = {f"n{n}": 2 * n + 1 for n in HARMONICS} | {"exact": 2}
    for where, side in forms.items():
        theta, phi, f, own, dmean = (torch.empty(SHAPE, device="meta") for _ in range(5))
        kernel = torch.empty((side, side), device="meta")
        yield from recorded(where, partial(triton_impl.forward, theta, phi, f, own, kernel))
        yield from recorded(where, partial(triton_impl.backward, theta, phi, f, own, kernel, dmean))
