"""ADL's attention map in plain PyTorch: frame after frame into M, which is then scaled in place.

Frames are read in the order of their memory, and M has that order until the map is written. uint8 frames are never normalised.
"""

import torch
from torch import Tensor

from vadfast_kernels._dtypes import wide
from vadfast_kernels.attention_map.rank_pooling import rank_pooling_weights


def forward(x: Tensor, eps: float, background: float) -> Tensor:
    """Returns the map [B, C, H, W] of frames [B, T, C, H, W]; ``eps`` is in units of the frames."""
    dtype = wide(x) if x.is_floating_point() else torch.float32
    first, *others = rank_pooling_weights(x.shape[1]).tolist()
    m = x[:, 0].to(dtype) * first
    for t, weight in enumerate(others, start=1):
        m.add_(x[:, t].to(dtype), alpha=weight)
    over = (1, 2, 3)
    spread = m.amax(over, keepdim=True) - m.amin(over, keepdim=True)
    m.abs_().div_(spread.clamp_min_(eps)).clamp_max_(1)
    return torch.add(m, background, out=m.new_empty(m.shape))
