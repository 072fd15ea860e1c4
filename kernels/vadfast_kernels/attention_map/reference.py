"""ADL's attention map written for the eye: frames pooled by their rank, and M's magnitude as a share of its range."""

import torch
from torch import Tensor

from vadfast_kernels._dtypes import wide
from vadfast_kernels.attention_map.rank_pooling import LEAST_CONTRAST, rank_pooling_weights


@torch.no_grad()
def attention_map(frames: Tensor, *, background: float = 0.1) -> Tensor:
    """The formula of ``op.py``, in float32 or wider; frames [B, T, C, H, W] -> [B, C, H, W]."""
    x = frames.to(wide(frames)) if frames.is_floating_point() else frames.float() / 127.5 - 1
    alpha = rank_pooling_weights(frames.shape[1]).to(x)
    m = torch.einsum("t,btchw->bchw", alpha, x)
    spread = m.amax(dim=(1, 2, 3), keepdim=True) - m.amin(dim=(1, 2, 3), keepdim=True)
    eps = LEAST_CONTRAST * alpha.abs().sum() / 2
    return (m.abs() / spread.clamp_min(eps)).clamp_max(1) + background
