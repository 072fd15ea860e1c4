"""Preprocessing in plain PyTorch, on any device: the integers of csrc/core/preprocess.h, so that its bits are those of the core."""

from collections.abc import Sequence

import torch
from torch import Tensor

_ONE = 2048  # weights are in units of 1 / 2048


def forward(picture: Tensor, size: Sequence[int], format: str, crop: Sequence[int]) -> Tensor:
    """Returns the pictures in the model's size."""
    x, y, width, height = crop
    rgb = _rgb(picture, format)[:, y : y + height, x : x + width].int()
    if tuple(rgb.shape[1:3]) == tuple(size):
        return rgb.to(torch.uint8)
    # Columns beyond the border have the outermost sample with all the weight; rows have it twice, each part cut for itself.
    low, high, weight = _taps(width, size[1], picture.device)
    weight = torch.where(low == high, 0, weight)[:, None]
    levels = (rgb[:, :, low] * (_ONE - weight) + rgb[:, :, high] * weight) >> 4
    low, high, weight = _taps(height, size[0], picture.device)
    weight = weight[:, None, None]
    above, below = levels[:, low] * (_ONE - weight) >> 16, levels[:, high] * weight >> 16
    return ((above + below + 2) >> 2).to(torch.uint8)


def _taps(n_in: int, n_out: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Both samples of each output, and the weight of the second."""
    at = torch.arange(n_out, dtype=torch.float64, device=device)
    centre = ((at + 0.5) * (1.0 / (n_out / n_in)) - 0.5).float()
    low = centre.floor()
    weight = ((centre - low) * _ONE).round().int()
    first = low.long()
    return first.clamp(0, n_in - 1), (first + 1).clamp(0, n_in - 1), weight


def _rgb(picture: Tensor, format: str) -> Tensor:
    """[B, H, W, 3] of any format."""
    if format == "rgb":
        return picture
    if format == "bgr":
        return picture.flip(-1)
    if format == "gray":
        return picture.unsqueeze(-1).expand(-1, -1, -1, 3)
    b, rows, width = picture.shape
    height = rows // 3 * 2
    luma, chroma = picture[:, :height].int(), picture[:, height:].int()
    if format == "nv12":
        u, v = chroma[:, :, 0::2], chroma[:, :, 1::2]
    else:
        u, v = chroma.reshape(b, 2, height // 2, width // 2).unbind(1)
    u, v = (_spread(c) - 128 for c in (u, v))
    # BT.601, limited range, in units of 2^-20.
    luma = (luma - 16).clamp_min(0) * 1220542 + (1 << 19)
    colours = (luma + 1673527 * v, luma - 852492 * v - 409993 * u, luma + 2116026 * u)
    return torch.stack([(c >> 20).clamp(0, 255) for c in colours], dim=-1)


def _spread(chroma: Tensor) -> Tensor:
    """A colour is of 2 x 2 pixels."""
    return chroma.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
