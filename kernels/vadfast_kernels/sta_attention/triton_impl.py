"""The launches of STA's attention: which kernel sees what, and what PyTorch does between them."""

from typing import Any

import torch
import triton
from torch import Tensor

from vadfast_kernels.sta_attention import triton_exact, tuned
from vadfast_kernels.sta_attention.triton_circle import KEY, QUERY
from vadfast_kernels.sta_attention.triton_kernels import (
    sta_bwd_key_kernel,
    sta_bwd_product_kernel,
    sta_bwd_query_kernel,
    sta_mean_kernel,
    sta_merge_kernel,
    sta_rows_kernel,
)
from vadfast_kernels.sta_attention.triton_planes import prepare

__all__ = ["backward", "forward", "prepare"]


def forward(f: Tensor, planes: Tensor, kernel: Tensor) -> Tensor:
    """Returns f plus its mean over each element's cross [B, N, C]; what is not contiguous is copied once.

    Args:
        f: values [B, N, C].
        planes: ``circle.planes_of``'s ten numbers.
        kernel: K [2n + 1, 2n + 1], or [0, 0], which asks for exp itself.
    """
    f, planes, kernel = (x.contiguous() for x in (f, planes, kernel))
    with torch.cuda.device_of(f):
        if len(kernel) == 0:
            return triton_exact.forward(f, planes)
        _, rows = _sum_rows(f, None, None, None, planes, kernel)
        y = torch.empty_like(f)
        sta_mean_kernel[_grid(f)](y, f, planes, kernel, rows, *f.shape[1:], **_options(kernel))
        return y


def backward(
    f: Tensor, planes: Tensor, kernel: Tensor, dy: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the gradients of f, planes and kernel; the mean is made anew."""
    f, planes, kernel, dy = (x.contiguous() for x in (f, planes, kernel, dy))
    with torch.cuda.device_of(f):
        shift = f.mean(dim=(1, 2))
        if len(kernel) == 0:
            df, dplanes = triton_exact.backward(f, shift, planes, dy)
            return df, dplanes, torch.empty_like(kernel)
        (b, n, c), n_features = f.shape, len(kernel)
        sizes, options = (n, c), _options(kernel)
        df, dtheta, to_values, to_weights = (torch.empty_like(f) for _ in range(4))
        columns, dcolumns = (f.new_empty((b, n_features, 2, c)) for _ in range(2))
        rows, product = _sum_rows(f, shift, None, None, planes, kernel)
        sta_bwd_query_kernel[_grid(f)](
            dtheta, to_values, to_weights, columns,
            f, shift, planes, dy, kernel, product, *sizes, **options,
        )  # fmt: skip
        transposed = kernel.T.contiguous()
        drows, product = _sum_rows(f, None, to_values, to_weights, planes, transposed)
        parts = f.new_empty((*_grid(f), 10), dtype=torch.float64)
        sta_bwd_key_kernel[_grid(f)](
            df, parts, dcolumns,
            f, shift, planes, dy, dtheta, to_values, to_weights, transposed, product, *sizes, **options,
        )  # fmt: skip
        dkernel = torch.einsum("rfs,rgs->fg", drows, rows) + _column_product(dcolumns, columns)
    return df, parts.sum(dim=(0, 1)).to(planes.dtype), dkernel.to(kernel.dtype)


def _sum_rows(
    f: Tensor, shift: Tensor | None, a: Tensor | None, b: Tensor | None, planes: Tensor, kernel: Tensor
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Returns sums over each row of psi(phi) x (f - shift, 1), or given a and b of psi(theta) x (a, b), [B N, 2n + 1, 2] float64, and K times them in float32."""
    n_rows, (c, n_features) = f.shape[0] * f.shape[1], (f.shape[2], len(kernel))
    n_splits = triton.cdiv(c, tuned.PER_SPLIT)
    parts = f.new_empty((n_rows, n_splits, n_features, 2))
    sta_rows_kernel[n_rows, n_splits](
        parts, f, f if shift is None else shift, f if a is None else a, f if b is None else b, planes,
        *f.shape[1:], tuned.PER_SPLIT, LINE=KEY if a is None else QUERY,
        CENTRED=shift is not None, WEIGHTED=a is not None, **_options(kernel),
    )  # fmt: skip
    rows = f.new_empty((n_rows, n_features, 2), dtype=torch.float64)
    product = f.new_empty((n_rows, n_features, 2))
    sta_merge_kernel[(n_rows,)](
        rows, product, parts, kernel, n_splits,
        F=n_features, BLOCK_F=tuned.block_f(n_features), num_warps=4,
    )  # fmt: skip
    return rows, product


def _column_product(left: Tensor, right: Tensor) -> Tensor:
    """Returns the sum over bags, sources and columns of left [B, 2n + 1, 2, C] x right, [2n + 1, 2n + 1] float64."""
    b, n_features, _, c = left.shape
    n_splits = triton.cdiv(2 * c, tuned.PER_PRODUCT)
    parts = left.new_empty((b, n_splits, n_features, n_features), dtype=torch.float64)
    sta_bwd_product_kernel[b, n_splits](
        parts, left, right, 2 * c, tuned.PER_PRODUCT,
        F=n_features, BLOCK_F=tuned.block_f(n_features), BLOCK=tuned.PRODUCT_COLUMNS, num_warps=4,
    )  # fmt: skip
    return parts.sum(dim=(0, 1))


def _grid(f: Tensor) -> tuple[int, int]:
    return f.shape[0], triton.cdiv(f.shape[2], tuned.COLUMNS)


def _options(kernel: Tensor) -> dict[str, Any]:
    """What every kernel that holds features takes by name."""
    return {"BLOCK": tuned.COLUMNS, "H": len(kernel) // 2, "num_warps": tuned.N_WARPS}
