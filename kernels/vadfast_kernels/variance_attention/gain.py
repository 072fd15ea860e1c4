r"""From the variance of every cell to its gain, and back, without an exponential that can overflow.

With v over the P cells of an image, a softmax::

    code    gain = exp(a),        a = softmax(v)          within [1, e]
    paper   gain = a / |a|_2      = exp(v - logsumexp(2 v) / 2)

The right-hand form of ``paper`` never makes a: where the largest v is far above the rest, a^2 of those underflows.
"""

import torch
from torch import Tensor

from vadfast_kernels._dtypes import wide


def gain_of(v: Tensor, variant: str) -> Tensor:
    """Returns the gain of each cell [B, P]."""
    if variant == "code":
        return v.softmax(dim=-1).exp()
    return (v - torch.logsumexp(2 * v, dim=-1, keepdim=True) / 2).exp()


def gain_backward(v: Tensor, gain: Tensor, dgain: Tensor, variant: str) -> Tensor:
    """Returns dv [B, P] from v, its gain and the gradient of the gain."""
    dlog = dgain * gain  # of log gain
    if variant == "code":
        a = v.softmax(dim=-1)
        return a * (dlog - (a * dlog).sum(dim=-1, keepdim=True))
    # softmax(2 v) is gain^2.
    return dlog - gain.square() * dlog.sum(dim=-1, keepdim=True)


def centred(weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Returns weight [D, C] and bias [D] less their mean over D, in at least float32: f is then its own deviation."""
    weight = weight.to(wide(weight))
    if bias is not None:
        bias = bias.to(weight.dtype)
        bias = bias - bias.mean()
    return weight - weight.mean(dim=0), bias


def share(n_channels: int, variant: str) -> float:
    """What the sum of squared deviations is multiplied by: 1 in the code, 1/D in the paper."""
    return 1.0 if variant == "code" else 1.0 / n_channels
