"""Frames as lines of memory: planes of a contiguous frame, or one plane of W C values a row where channels are last.

A patch is then a rectangle of every plane in either format, and rows are read in order.
"""

import torch
from torch import Tensor


def as_planes(*frames: Tensor) -> list[Tensor]:
    """Returns views [B, planes, H, line] of ``frames`` [B, C, H, W]; all have the same shape."""
    if all(x.is_contiguous(memory_format=torch.channels_last) for x in frames):
        return [x.permute(0, 2, 3, 1).flatten(2).unsqueeze(1) for x in frames]
    return list(frames)


def as_patches(x: Tensor, rows: int, columns: int) -> Tensor:
    """Returns the view [B, planes, rows, h, columns, w] of planes [B, planes, H, line]."""
    return x.unflatten(3, (columns, -1)).unflatten(2, (rows, -1))
