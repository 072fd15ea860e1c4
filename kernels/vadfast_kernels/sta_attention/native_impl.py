"""STA's attention on CPUs in C++ (csrc/core/sta_attention.cpp), float32: ``circle.py`` without a feature in memory, forward and backward."""

import torch
from torch import Tensor

from vadfast_kernels import _native
from vadfast_kernels._threads import lent
from vadfast_kernels.sta_attention.circle import prepared

__all__ = ["backward", "forward", "prepare"]

prepare = prepared


def forward(f: Tensor, planes: Tensor, kernel: Tensor) -> Tensor:
    """Returns f plus its mean over each element's cross [B, N, C]; what is not contiguous is copied once.

    Args:
        f: values [B, N, C].
        planes: ``circle.planes_of``'s ten numbers.
        kernel: K [2n + 1, 2n + 1].
    """
    inputs = _dense(f, planes, kernel)
    y = torch.empty(f.shape)
    _native.module().sta_attention(*inputs, y, **lent())
    return y


def backward(
    f: Tensor, planes: Tensor, kernel: Tensor, dy: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the gradients of f, planes and kernel; the mean is made anew, unrounded."""
    inputs = _dense(f, planes, kernel, dy)
    df = torch.empty(f.shape)
    dplanes, dkernel = (torch.empty(x.shape, dtype=torch.float64) for x in (planes, kernel))
    _native.module().sta_attention_backward(*inputs, df, dplanes, dkernel, **lent())
    return df, dplanes.to(planes.dtype), dkernel.to(kernel.dtype)


def _dense(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(x.detach().contiguous() for x in tensors)
