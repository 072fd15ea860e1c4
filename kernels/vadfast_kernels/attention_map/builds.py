"""Which attention-map kernels are compiled ahead of time: clips of the sizes that training uses, as it has them and normalised."""

from collections.abc import Iterator
from functools import partial

import torch

from vadfast_kernels.aot import DTYPES, Build, recorded
from vadfast_kernels.attention_map import triton_impl

SHAPES = ((4, 5, 3, 256, 256), (8, 5, 3, 128, 128))
_TYPES = {torch.uint8: "u8", **DTYPES}
# Order of the axes in memory; frames of a video have their channels last.
_FORMATS = {"planes": (0, 1, 2, 3, 4), "channels last": (0, 1, 3, 4, 2)}


def builds() -> Iterator[Build]:
    """Yields both kernels at each shape, order in memory and dtype."""
    for shape in SHAPES:
        for dtype, name in _TYPES.items():
            for layout, order in _FORMATS.items():
                frames = torch.empty_permuted(shape, order, dtype=dtype, device="meta")
                where = f"{'x'.join(map(str, shape))} {name} {layout}"
                yield from recorded(where, partial(triton_impl.forward, frames, 0.074, 0.1))
