"""Criss-cross attention on CPUs in C++ (csrc/core/criss_cross.cpp), float32: forward; the gradient is PyTorch's products, from the same state."""

import torch
from torch import Tensor

from vadfast_kernels import _native
from vadfast_kernels._threads import lent
from vadfast_kernels.criss_cross_attention import torch_impl
from vadfast_kernels.criss_cross_attention.layout import channels_first

backward = torch_impl.backward


def forward(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Returns y [B, C, H, W] (channels last in memory) and the softmax's state [B, H, W, 2]: largest score, sum of weights."""
    q, k, v = (_channels_last(x.detach()) for x in (q, k, v))
    y, state = torch.empty(v.shape), torch.empty((*q.shape[:3], 2))
    _native.module().criss_cross(q, k, v, y, state, **lent())
    return channels_first(y), state


def _channels_last(x: Tensor) -> Tensor:
    """``x`` [B, C, H, W] as [B, H, W, C]; copied where its channels are apart."""
    b, c, h, w = x.shape
    if x.stride(1) == 1 or c == 1:
        return x.permute(0, 2, 3, 1)
    out = torch.empty((b, h, w, c))
    _native.module().channels_last(x.contiguous(), out, **lent())
    return out
