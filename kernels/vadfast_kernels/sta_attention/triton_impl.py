"""The launches of STA's attention: which kernel sees what, and what PyTorch does between them."""

from typing import Any

import torch
import triton
from torch import Tensor

from vadfast_kernels.sta_attention import triton_exact, tuned
from vadfast_kernels.sta_attention.triton_kernels import (
    sta_bwd_key_kernel,
    sta_bwd_product_kernel,
    sta_bwd_query_kernel,
    sta_mean_kernel,
    sta_merge_kernel,
    sta_rows_kernel,
)


def forward(theta: Tensor, phi: Tensor, f: Tensor, own: Tensor, kernel: Tensor) -> Tensor:
    """Returns the mean of f over each element's cross [B, N, C]; what is not contiguous is copied once.

    Args:
        theta: angles of the queries [B, N, C].
        phi: angles of the keys [B, N, C].
        f: values [B, N, C].
        own: exp of the cosine of each element with itself [B, N, C].
        kernel: K [2n + 1, 2n + 1], or G [2, 2], which asks for exp itself.
    """
    theta, phi, f, own, kernel = (x.contiguous() for x in (theta, phi, f, own, kernel))
    with torch.cuda.device_of(f):
        if len(kernel) == 2:
            return triton_exact.forward(theta, phi, f, own, kernel)
        _, rows = _sum_rows(phi, f, None, kernel)
        mean = torch.empty_like(f)
        sta_mean_kernel[_grid(f)](
            mean, theta, phi, f, own, kernel, rows, *f.shape[1:], **_options(kernel)
        )
        return mean


def backward(
    theta: Tensor, phi: Tensor, f: Tensor, own: Tensor, kernel: Tensor, dmean: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Returns the gradients of theta, phi, f, own and kernel; the mean is made anew."""
    theta, phi, f, own, kernel, dmean = (
        x.contiguous() for x in (theta, phi, f, own, kernel, dmean)
    )
    with torch.cuda.device_of(f):
        f = f - f.mean(dim=(1, 2), keepdim=True)
        if len(kernel) == 2:
            return triton_exact.backward(theta, phi, f, own, kernel, dmean)
        (b, n, c), n_features = f.shape, len(kernel)
        sizes, options = (n, c), _options(kernel)
        dtheta, dphi, df, down, to_values, to_weights = (torch.empty_like(f) for _ in range(6))
        columns, dcolumns = (f.new_empty((b, n_features, 2, c)) for _ in range(2))
        rows, product = _sum_rows(phi, f, None, kernel)
        sta_bwd_query_kernel[_grid(f)](
            dtheta, down, to_values, to_weights, columns,
            theta, phi, f, own, dmean, kernel, product, *sizes, **options,
        )  # fmt: skip
        transposed = kernel.T.contiguous()
        drows, product = _sum_rows(theta, to_values, to_weights, transposed)
        sta_bwd_key_kernel[_grid(f)](
            dphi, df, dcolumns,
            theta, phi, f, own, to_values, to_weights, transposed, product, *sizes, **options,
        )  # fmt: skip
        dkernel = torch.einsum("rfs,rgs->fg", drows, rows) + _column_product(dcolumns, columns)
    return dtheta, dphi, df, down, dkernel.to(kernel.dtype)


def _sum_rows(angles: Tensor, a: Tensor, b: Tensor | None, kernel: Tensor) -> tuple[Tensor, Tensor]:
    """Returns sums of psi x (a, b), or (a, 1), over each row [B N, 2n + 1, 2] float64, and K times them in float32."""
    n_rows, (c, n_features) = a.shape[0] * a.shape[1], (a.shape[2], len(kernel))
    n_splits = triton.cdiv(c, tuned.PER_SPLIT)
    parts = a.new_empty((n_rows, n_splits, n_features, 2))
    sta_rows_kernel[n_rows, n_splits](
        parts, angles, a, a if b is None else b, c, tuned.PER_SPLIT,
        WEIGHTED=b is not None, **_options(kernel),
    )  # fmt: skip
    rows = a.new_empty((n_rows, n_features, 2), dtype=torch.float64)
    product = a.new_empty((n_rows, n_features, 2))
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
