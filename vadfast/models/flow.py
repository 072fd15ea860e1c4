"""Differentiable optical flow for the flow loss of frame-prediction models (Liu et al. 2018; ADL eq. 12).

The published models use a frozen FlowNet2-SD, whose weights cannot be shipped. The loss takes any function (frame a, frame b)
-> flow with a gradient to both; here is one that needs no weights, and the loader of a user's own.
"""

import importlib
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from vadfast.errors import UsageError

Flow = Callable[[Tensor, Tensor], Tensor]


def load_flow(name: str) -> Flow | None:
    """The flow function called ``name``: "none" (None), "lucas-kanade", or "package.module:function" of the user's own.

    Raises:
        UsageError: the name is none of these, or it cannot be imported.
    """
    if name == "none":
        return None
    if name == "lucas-kanade":
        return lucas_kanade
    module_name, _, attribute = name.partition(":")
    if not attribute:
        raise UsageError(
            f"--flow must be none, lucas-kanade or package.module:function, got {name!r}; docs/training.md says what such a function does"
        )
    try:
        function = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise UsageError(
            f"--flow {name}: cannot be imported ({error}); check the name and PYTHONPATH"
        ) from error
    if not callable(function):
        raise UsageError(
            f"--flow {name}: must be a function (frame a, frame b) -> flow [B, 2, H, W], got {function!r}"
        )
    return function


def lucas_kanade(a: Tensor, b: Tensor, *, window_px: int = 9, levels: int = 3) -> Tensor:
    """Dense Lucas-Kanade flow from ``a`` to ``b``, coarse to fine, differentiable in both.

        (G + eps I) u = -sum_window grad(a) (warp(b, u0) - a) + G u0,   G = sum_window grad(a) grad(a)^T

    Source: Lucas and Kanade, IJCAI 1981; pyramid as in Bouguet 2001. eps keeps flat regions at the coarser level's flow.

    Args:
        a: earlier frames [B, C, H, W] in [-1, 1].
        b: later frames, same shape.
        window_px: side of the square over which motion is taken as constant.
        levels: of the pyramid, each half the size of the one below.

    Returns:
        Flow [B, 2, H, W] in pixels: (x, y) such that a(p) = b(p + flow(p)).
    """
    grey_a, grey_b = a.float().mean(dim=1, keepdim=True), b.float().mean(dim=1, keepdim=True)
    pyramid = [(grey_a, grey_b)]
    for _ in range(levels - 1):
        pyramid.append((F.avg_pool2d(pyramid[-1][0], 2), F.avg_pool2d(pyramid[-1][1], 2)))
    flow = torch.zeros_like(pyramid[-1][0]).repeat(1, 2, 1, 1)
    for level_a, level_b in reversed(pyramid):
        if flow.shape[-2:] != level_a.shape[-2:]:
            flow = 2 * F.interpolate(
                flow, size=level_a.shape[-2:], mode="bilinear", align_corners=False
            )
        flow = flow + _increment(level_a, _warp(level_b, flow), window_px)
    return flow


def _increment(a: Tensor, warped: Tensor, window_px: int) -> Tensor:
    padded = F.pad(a, (1, 1, 1, 1), mode="replicate")
    gx = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2  # [B, 1, H, W]
    gy = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    gt = warped - a
    products = torch.cat([gx * gx, gx * gy, gy * gy, gx * gt, gy * gt], dim=1)
    sums = F.avg_pool2d(
        products, window_px, stride=1, padding=window_px // 2, count_include_pad=False
    )
    xx, xy, yy, xt, yt = sums.unbind(1)
    # 8-bit noise of one grey level gives gradients near 0.008: below this, a window says nothing about motion.
    eps = 1e-4
    xx, yy = xx + eps, yy + eps
    determinant = xx * yy - xy * xy
    return torch.stack(
        [(xy * yt - yy * xt) / determinant, (xy * xt - xx * yt) / determinant], dim=1
    )


def _warp(image: Tensor, flow: Tensor) -> Tensor:
    """``image`` sampled at p + flow(p), bilinear, the border repeated."""
    h, w = image.shape[-2:]
    y, x = torch.meshgrid(
        torch.arange(h, device=image.device, dtype=image.dtype),
        torch.arange(w, device=image.device, dtype=image.dtype),
        indexing="ij",
    )
    grid = torch.stack(
        [(x + flow[:, 0]) * (2 / (w - 1)) - 1, (y + flow[:, 1]) * (2 / (h - 1)) - 1], dim=-1
    )
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=True)
