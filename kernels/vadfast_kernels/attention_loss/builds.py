"""Which attention-loss kernels are compiled ahead of time: frames of the sizes that training uses, in either memory format."""

from collections.abc import Iterator
from functools import partial

import torch

from vadfast_kernels.aot import DTYPES, Build, recorded
from vadfast_kernels.attention_loss import triton_impl

SHAPES = ((4, 3, 256, 256), (8, 3, 128, 128))
# Types of the prediction, and of target and map: the last is a network under autocast.
_TYPES = (*((t, t) for t in DTYPES), (torch.bfloat16, torch.float32))
_FORMATS = {"planes": torch.contiguous_format, "channels last": torch.channels_last}


def builds() -> Iterator[Build]:
    """Yields the kernel at each shape, memory format, edge and combination of dtypes."""
    for shape in SHAPES:
        for predicted, constant in _TYPES:
            for layout, memory_format in _FORMATS.items():
                like = partial(torch.empty, shape, device="meta", memory_format=memory_format)
                p, g, a = like(dtype=predicted), like(dtype=constant), like(dtype=constant)
                size = "x".join(map(str, shape))
                where = f"{size} {DTYPES[predicted]}/{DTYPES[constant]} {layout}"
                for edge, differentiable in (("drop", True), ("tf", True), ("drop", False)):
                    launch = partial(triton_impl.forward, p, g, a, 1.0, 1.0, edge, differentiable)
                    yield from recorded(where, launch)
