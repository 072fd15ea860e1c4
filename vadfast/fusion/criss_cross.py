"""The fused form of criss-cross layers: ours, and other people's by a table of what they call their parts."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from vadfast_kernels import ops


@dataclass(frozen=True, slots=True)
class Layout:
    """What a criss-cross layer calls its parts; ``recurrence`` None: one pass, its model repeats it."""

    query: str
    key: str
    value: str
    gamma: str
    recurrence: str | None = None
    affinity: str | None = None


# Class name -> layout. A class that is not here is not touched: equal attributes do not make an equal formula.
LAYOUTS = {
    "CrissCross": Layout("query", "key", "value", "gamma", "recurrence", "affinity"),
    # CCNet (speedinghzl/CCNet, cc_attention/functions.py); mmcv's CrissCrossAttention keeps these names, with a Scale as gamma.
    "CrissCrossAttention": Layout("query_conv", "key_conv", "value_conv", "gamma"),
}


def refusal(layer: nn.Module) -> str | None:
    """Returns why ``layer``, whose class is in the table, cannot be fused, or None."""
    layout = LAYOUTS[type(layer).__name__]
    for part in (layout.query, layout.key, layout.value):
        convolution = getattr(layer, part, None)
        if not isinstance(convolution, nn.Conv2d):
            return f"{part} must be a Conv2d, got {type(convolution).__name__}"
        if (
            convolution.kernel_size != (1, 1)
            or convolution.stride != (1, 1)
            or convolution.groups != 1
        ):
            return f"{part} must be a 1x1 convolution of stride 1 without groups, got {convolution}"
    value = getattr(layer, layout.value)
    if value.in_channels != value.out_channels:
        return f"{layout.value} must keep the number of channels, got {value}"
    gamma = _gamma(layer, layout)
    if gamma is None or gamma.numel() != 1:
        return f"{layout.gamma} must be one number"
    return None


def fused_forward(layer: nn.Module, backend: str) -> Callable[[Tensor], Tensor]:
    """Returns what takes the place of ``layer.forward``; the parameters stay the layer's own.

    Weights of a softmax sum to 1, so values may be projected after they were averaged: A (W_v x + b_v) = W_v (A x) + b_v. The
    attention then reads x itself and W_v x never exists.
    """
    layout = LAYOUTS[type(layer).__name__]
    query, key, value = (getattr(layer, part) for part in (layout.query, layout.key, layout.value))
    affinity = getattr(layer, layout.affinity) if layout.affinity else "dot"
    recurrence = getattr(layer, layout.recurrence) if layout.recurrence else 1

    def forward(x: Tensor) -> Tensor:
        gamma = _gamma(layer, layout)
        assert gamma is not None
        for _ in range(recurrence):
            # One product for queries and keys; the operator takes slices.
            weight = torch.cat([query.weight, key.weight])
            bias = None if query.bias is None else torch.cat([query.bias, key.bias])
            q, k = F.conv2d(x, weight, bias).split((query.out_channels, key.out_channels), dim=1)
            mean = ops.criss_cross_attention(
                q, k, x.to(q.dtype), affinity=affinity, backend=backend
            )
            x = gamma * value(mean) + x
        return x

    return forward


def _gamma(layer: nn.Module, layout: Layout) -> Tensor | None:
    gamma = getattr(layer, layout.gamma, None)
    if isinstance(gamma, nn.Module):  # mmcv's Scale
        gamma = getattr(gamma, "scale", None)
    return gamma if isinstance(gamma, Tensor) else None
