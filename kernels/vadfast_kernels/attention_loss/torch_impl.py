"""The attention-weighted losses in plain PyTorch, fast on CPUs: few passes, in place, over parts that stay in the cache.

The gradient is written down, not recorded: with m = A sign(|dp| - |dg|), the loss of a pair of pixels is m (|dp| - |dg|), and its
derivative to dp is m sign(dp). Nothing that eager would keep for its backward exists.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from vadfast_kernels._dtypes import wide

_PART_BYTES = 2 << 20  # of one tensor: the last cache holds the eight that are live


def forward(
    p: Tensor, g: Tensor, a: Tensor, content_weight: float, gradient_weight: float, edge: str,
    differentiable: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Returns the loss, its two terms and, like p where ``differentiable``, N times its gradient; p, g and a are [B, C, H, W]."""
    dtype = wide(p, g, a)
    unscaled = torch.empty_like(p) if differentiable else p.new_empty(0)
    squares: list[Tensor] = []
    pairs: list[Tensor] = []
    for part in _parts(p, dtype):
        x, y, weight = (z[part].to(dtype) for z in (p, g, a))  # [b, c, H, W]
        error = (x - y).mul_(weight)
        if not differentiable:
            squares.append(error.square_().sum())
            pairs += [_pair_losses(x, y, weight, axis, edge) for axis in (2, 3)]
            continue
        squares.append(error.square().sum())
        grad = error.mul_(weight).mul_(2 * content_weight)
        for axis in (2, 3):
            pairs.append(_add_pairs(grad, x, y, weight, axis, gradient_weight, edge))
        unscaled[part] = grad
    content, gradient = (
        torch.stack(sums).sum(dtype=torch.float64) / p.numel() for sums in (squares, pairs)
    )
    loss = content_weight * content + gradient_weight * gradient
    return loss.to(dtype), content.to(dtype), gradient.to(dtype), unscaled


def _pair_losses(x: Tensor, y: Tensor, weight: Tensor, axis: int, edge: str) -> Tensor:
    """The sum of weight ||dp| - |dg|| over all pairs along ``axis``."""
    last = x.shape[axis] - 1
    excess = x.diff(dim=axis).abs_().sub_(y.diff(dim=axis).abs_()).abs_()
    value = excess.mul_(weight.narrow(axis, 0, last)).sum()
    if edge == "tf":
        x, y, weight = (z.narrow(axis, last, 1) for z in (x, y, weight))
        value = value + (x.abs() - y.abs()).abs_().mul_(weight).sum()
    return value


def _add_pairs(
    grad: Tensor, x: Tensor, y: Tensor, weight: Tensor, axis: int, factor: float, edge: str
) -> Tensor:
    """Adds ``factor`` times the gradient of all pairs along ``axis`` to ``grad``; returns the sum of their losses."""
    last = x.shape[axis] - 1
    value, slope = _pairs(x.diff(dim=axis), y.diff(dim=axis), weight.narrow(axis, 0, last))
    grad.narrow(axis, 1, last).add_(slope, alpha=factor)
    grad.narrow(axis, 0, last).sub_(slope, alpha=factor)
    if edge == "tf":
        x, y, weight, grad = (z.narrow(axis, last, 1) for z in (x, y, weight, grad))
        border, slope = _pairs(-x, -y, weight)  # the next pixel is 0
        grad.sub_(slope, alpha=factor)
        value = value + border
    return value


def _pairs(dp: Tensor, dg: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the sum of weight ||dp| - |dg||, and its derivative to dp; both differences are used up."""
    sign = dp.sign()
    excess = dp.abs_().sub_(dg.abs_())
    slope = torch.sign(excess, out=dg).mul_(weight)
    return excess.mul_(slope).sum(), slope.mul_(sign)


def _parts(x: Tensor, dtype: torch.dtype) -> Iterator[tuple[slice, slice]]:
    """Whole planes, because a difference never leaves one; several where they are small."""
    b, c, h, w = x.shape
    plane = h * w * torch.finfo(dtype).bits // 8
    n_planes = max(1, _PART_BYTES // plane)
    step_c = min(c, n_planes)
    step_b = max(1, n_planes // c)
    for i in range(0, b, step_b):
        for j in range(0, c, step_c):
            yield slice(i, i + step_b), slice(j, j + step_c)
