"""STD's variance attention written for the eye: convolution, pooling, variance, softmax, upsampling, in the published order."""

import torch
from torch import Tensor
from torch.nn import functional as F


def variance_attention(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, cell: int, variant: str = "code"
) -> Tensor:
    """The formula of ``op.py``, in the dtype of the inputs; x [B, C, H, W], weight [D, C], bias [D] -> [B, C, H, W]."""
    f = torch.einsum("dc,bchw->bdhw", weight, x)  # [B, D, H, W]
    if bias is not None:
        f = f + bias[:, None, None]
    f = F.avg_pool2d(f, cell)  # [B, D, h, w]
    deviation = (f - f.mean(dim=1, keepdim=True)).square()
    v = deviation.sum(dim=1) if variant == "code" else deviation.mean(dim=1)  # [B, h, w]
    a = v.flatten(1).softmax(dim=-1)
    gain = a.exp() if variant == "code" else F.normalize(a, dim=-1)
    return F.interpolate(gain.view_as(v).unsqueeze(1), scale_factor=cell, mode="nearest") * x
