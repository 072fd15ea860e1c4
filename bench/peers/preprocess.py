"""A decoder's NV12 pictures to the model's size in plain tensor operations, and the least that anybody must move for it."""

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.shapes import Shape

SIDE = 256


def nv12_to_rgb(pictures: Tensor) -> Tensor:
    """[N, 3 H / 2, W] to [N, 256, 256, 3]: every sample converted, rounded and clamped, then resized."""
    n, rows, width = pictures.shape
    height = rows // 3 * 2
    y = (pictures[:, :height].float() - 16).clamp_min(0) * (1220542 / 2**20)
    uv = pictures[:, height:].view(n, height // 2, width // 2, 2).float() - 128
    u, v = uv.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2).unbind(3)
    rgb = [y + 1673527 / 2**20 * v, y - 852492 / 2**20 * v - 409993 / 2**20 * u, y + 2116026 / 2**20 * u]  # fmt: skip
    x = torch.stack(rgb, dim=1).round_().clamp_(0, 255)
    x = F.interpolate(x, (SIDE, SIDE), mode="bilinear", align_corners=False)
    return x.round_().byte().permute(0, 2, 3, 1).contiguous()


def nv12_traffic_mbyte(shape: Shape) -> float:
    """Rows that have a weight, 512 of 1080 of luma and 384 of 540 of colour, and in them every sector of 32 bytes; and the result."""
    return shape["B"] * ((2 * SIDE + 3 * SIDE // 2) * shape["W"] + SIDE * SIDE * 3) / 1e6
