"""STD's variance attention and APN's prototype attention in eager PyTorch."""

import torch
from torch import Tensor
from torch.nn import functional as F


def variance(x: Tensor, weight: Tensor, cell: int) -> Tensor:
    """STD's published code: 1x1 convolution, pooling, variance over channels, softmax over positions, upsampling, exp.

    x [B, C, H, W], weight [C, C] -> [B, C, H, W].
    """
    y = F.avg_pool2d(F.conv2d(x, weight[:, :, None, None]), cell)
    v = (y - y.mean(dim=1, keepdim=True)).square().sum(dim=1, keepdim=True)  # [B, 1, h, w]
    attention = v.flatten(2).softmax(dim=-1).view_as(v)
    return F.interpolate(attention, scale_factor=cell, mode="nearest").exp() * x


def prototype_broadcast(z: Tensor, weight: Tensor) -> Tensor:
    """APN's published code: prototypes and retrieval by broadcasts of [B, N, M, C].

    z [B, N, C] L2-normalised positions, weight [M, C] -> [B, N, C].
    """
    w = (z @ weight.T).softmax(dim=1)  # over positions
    p = F.normalize((w.unsqueeze(-1) * z.unsqueeze(2)).sum(dim=1), dim=-1)  # [B, M, C]
    beta = (z @ p.transpose(1, 2)).softmax(dim=-1)
    retrieved = (beta.unsqueeze(-1) * p.unsqueeze(1)).sum(dim=2)
    return F.normalize(retrieved, dim=-1) + z


def prototype_bmm(z: Tensor, weight: Tensor) -> Tensor:
    """The same by batched matrix products."""
    w = (z @ weight.T).softmax(dim=1)
    p = F.normalize(torch.bmm(w.transpose(1, 2), z), dim=-1)
    beta = torch.bmm(z, p.transpose(1, 2)).softmax(dim=-1)
    return F.normalize(torch.bmm(beta, p), dim=-1) + z
