"""Which patch-max kernels are compiled ahead of time: the maps that MTL's two branches are trained on, in either memory format."""

from collections.abc import Iterator
from functools import partial

import torch

from vadfast_kernels.aot import DTYPES, Build, recorded
from vadfast_kernels.patch_max_loss import triton_impl

# Magnitudes of motion, and a map of 10 classes.
SHAPES = ((16, 1, 256, 256), (16, 10, 256, 256))
GRID = (4, 4)
# Types of the prediction and of the target: the last is a network under autocast.
_TYPES = (*((t, t) for t in DTYPES), (torch.bfloat16, torch.float32))
_FORMATS = {"planes": torch.contiguous_format, "channels last": torch.channels_last}


def builds() -> Iterator[Build]:
    """Yields both kernels at each shape, memory format and combination of dtypes."""
    for shape in SHAPES:
        for predicted, target in _TYPES:
            for layout, memory_format in _FORMATS.items():
                like = partial(torch.empty, shape, device="meta", memory_format=memory_format)
                p, g = like(dtype=predicted), like(dtype=target)
                size = "x".join(map(str, shape))
                where = f"{size} {DTYPES[predicted]}/{DTYPES[target]} {layout}"
                worst = torch.empty(shape[0], dtype=torch.int64, device="meta")
                dloss = torch.empty((), device="meta")
                yield from recorded(where, partial(triton_impl.forward, p, g, *GRID))
                yield from recorded(where, partial(triton_impl.backward, p, g, worst, dloss, *GRID))
