"""What the scorers of frame-prediction methods share: uint8 windows in, squared errors out as decibels and as cells of a heat map."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

_LEAST = 1e-10  # a perfect prediction has 100 dB


def channels_first(frames: Tensor) -> Tensor:
    """uint8 frames [B, T, H, W, 3] -> float32 [B, T, 3, H, W] in [0, 255].

    The cast comes first: TensorRT refuses any other operation on a uint8 input.
    """
    return frames.float().permute(0, 1, 4, 2, 3)


def signed_clip(frames: Tensor) -> Tensor:
    """uint8 frames [B, T, H, W, 3] -> float32 clip [B, T, 3, H, W] in [-1, 1], the range of a tanh."""
    return channels_first(frames) / 127.5 - 1


def unit_clip(frames: Tensor) -> Tensor:
    """uint8 frames [B, T, H, W, 3] -> float32 clip [B, T, 3, H, W] in [0, 1]."""
    return channels_first(frames) / 255


def decibels(mse: Tensor) -> Tensor:
    """Returns 10 log10(1 / max(mse, 1e-10)); of a mean squared error of frames in [0, 1] it is the PSNR."""
    return torch.log(mse.clamp_min(_LEAST)) * (-10 / math.log(10))


def cells(error: Tensor, size_px: int) -> Tensor:
    """Returns the mean of each cell of ``size_px`` pixels a side over all channels, [B, C, H, W] -> [B, H / size, W / size]."""
    return F.avg_pool2d(error.mean(dim=1, keepdim=True), size_px)[:, 0]


def frame_score(
    predicted: Tensor, target: Tensor, *, full_range: float, cell_px: int
) -> tuple[Tensor, Tensor]:
    """PSNR and error map of predicted frames: one value per frame, never averaged over the batch.

        psnr[b] = 10 log10(1 / max(mse[b], 1e-10)),  mse = mean over (c, h, w) of ((prediction - target) / full_range)^2

    Shapes: predicted, target [B, 3, H, W], from black to white ``full_range`` (2 in [-1, 1]) -> components [B, 1] in dB, heatmap
    [B, H / cell, W / cell], the mean squared error in [0, 1] of each cell.
    """
    error = ((predicted - target) / full_range).square()
    return decibels(error.mean(dim=(1, 2, 3))).unsqueeze(1), cells(error, cell_px)
