"""The operator's tensors through the compiled core; ``native.py`` is that door, and knows no torch."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vadfast_kernels.preprocess import native


def forward(picture: Tensor, size: Sequence[int], format: str, crop: Sequence[int]) -> Tensor:
    """Returns the pictures in the model's size."""
    # Within a row the core knows no gaps, and the planes of i420 lie one behind the other.
    picture = picture.contiguous()
    out = picture.new_empty((len(picture), *size, 3))
    x, y, width, height = crop
    where: dict[str, Any] = {"format": format, "crop": (x, y, width, height)}
    if picture.is_cuda:
        where["stream"] = torch.cuda.current_stream(picture.device).cuda_stream
        with torch.cuda.device(picture.device):
            native.preprocess(list(picture), out=list(out), **where)
        return out
    native.preprocess(list(picture.numpy()), out=list(out.numpy()), **where)
    return out
