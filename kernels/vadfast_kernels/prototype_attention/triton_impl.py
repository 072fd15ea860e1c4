"""The launches of APN's prototype attention: which kernel sees what, and what PyTorch does between them."""

from typing import Any

import torch
import triton
from torch import Tensor

from vadfast_kernels import _triton
from vadfast_kernels.prototype_attention.triton_kernels import (
    prototype_bwd_p_kernel,
    prototype_bwd_u_kernel,
    prototype_bwd_z_kernel,
    prototype_merge_kernel,
    prototype_retrieve_kernel,
    prototype_sum_kernel,
)
from vadfast_kernels.prototype_attention.tuned import Blocks, block_sizes


def forward(z: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Returns y [B, N, C], p [B, M, C], compactness [B, N], and of the prototypes: log-sum-exp of their scores and length [B, M]."""
    z, weight = _rows(z), _rows(weight)
    (b, n, c), m = z.shape, len(weight)
    blocks = block_sizes("fwd", c, m, z.dtype)
    per_split = blocks.per_split(n)
    n_splits = triton.cdiv(n, per_split)
    u = _empty(z, (b, n_splits, m, c))
    top, total = (_empty(z, (b, n_splits, m)) for _ in range(2))
    p, compactness, lse, length = (_empty(z, s) for s in ((b, m, c), (b, n), (b, m), (b, m)))
    y = torch.empty((b, n, c), dtype=z.dtype, device=z.device)
    at = (z.stride(0), z.stride(1))
    with torch.cuda.device_of(z):
        prototype_sum_kernel[n_splits, b, triton.cdiv(c, blocks.c)](
            u, top, total, z, weight, n, c, m, per_split, *at, weight.stride(0), **_options(blocks, z)
        )  # fmt: skip
        prototype_merge_kernel[m, b](
            p, lse, length, u, top, total, n_splits, c, m,
            ALL_SPLITS=triton.next_power_of_2(n_splits), BLOCK_S=8,
            BLOCK_C=triton.next_power_of_2(c), num_warps=4,
        )  # fmt: skip
        prototype_retrieve_kernel[triton.cdiv(n, blocks.n), b](
            y, compactness, z, p, p @ p.mT, n, c, m, *at, **_options(blocks, z)
        )
    return y, p, compactness, lse, length


def backward(
    z: Tensor, weight: Tensor, p: Tensor, lse: Tensor, length: Tensor,
    dy: Tensor, dp: Tensor, dcompactness: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Returns dz [B, N, C] and dweight [M, C]."""
    z, weight, dy, dcompactness = _rows(z), _rows(weight), _rows(dy), dcompactness.contiguous()
    (b, n, c), m = z.shape, len(weight)
    blocks = block_sizes("bwd", c, m, z.dtype)
    per_split = blocks.per_split(n)
    grid = (triton.cdiv(n, per_split), b, triton.cdiv(c, blocks.c))
    parts, dw_parts = (_empty(z, (b, grid[0], m, c)) for _ in range(2))
    du = torch.empty_like(p)
    dz = torch.empty((b, n, c), dtype=z.dtype, device=z.device)
    at, dy_at = (z.stride(0), z.stride(1)), (dy.stride(0), dy.stride(1))
    with torch.cuda.device_of(z):
        gram = p @ p.mT
        prototype_bwd_p_kernel[grid](
            parts, z, p, gram, dy, dcompactness, n, c, m, per_split, *at, *dy_at, **_options(blocks, z)
        )  # fmt: skip
        prototype_bwd_u_kernel[m, b](
            du, dp.contiguous(), parts, p, length, grid[0], c, m,
            BLOCK_S=8, BLOCK_C=triton.next_power_of_2(c), num_warps=4,
        )  # fmt: skip
        prototype_bwd_z_kernel[grid](
            dz, dw_parts, z, weight, p, gram, du, lse, length, dy, dcompactness,
            n, c, m, per_split, *at, weight.stride(0), *dy_at, **_options(blocks, z),
        )  # fmt: skip
    return dz, dw_parts.sum(dim=(0, 1)).to(weight.dtype)


def _options(blocks: Blocks, z: Tensor) -> dict[str, Any]:
    """What every kernel but the merging one takes by name."""
    return {
        "BLOCK_N": blocks.n, "BLOCK_C": blocks.c, "BLOCK_K": blocks.k, "BLOCK_M": blocks.m,
        "PRECISION": _triton.precision_of(z.dtype),
        "num_warps": blocks.n_warps, "num_stages": blocks.n_stages,
    }  # fmt: skip


def _rows(x: Tensor) -> Tensor:
    """``x`` with its channels next to each other in memory."""
    return x if x.stride(-1) == 1 else x.contiguous()


def _empty(like: Tensor, shape: tuple[int, ...]) -> Tensor:
    return torch.empty(shape, dtype=torch.float32, device=like.device)
