"""The loss of the worst patch in plain PyTorch: one pass over parts that stay in the cache; the gradient fills one patch."""

import torch
from torch import Tensor
from torch.nn import functional as F

from vadfast_kernels._dtypes import wide
from vadfast_kernels.patch_max_loss.layout import as_patches, as_planes

# Of the squared error at a time: what stays in a CPU's cache, and what keeps a GPU busy.
_PART_BYTES = {"cpu": 1 << 20, "cuda": 256 << 20}


def forward(p: Tensor, g: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """Returns the loss and the worst patch of each sample [B]; p and g are [B, C, H, W]."""
    dtype, n = wide(p, g), p[0].numel() // (rows * columns)
    p, g = as_planes(p, g)
    sums = p.new_empty((*p.shape[:2], rows, columns), dtype=dtype)
    n_planes = max(1, _part_bytes(p) // (p[0, 0].numel() * dtype.itemsize))
    step_planes, step_b = min(n_planes, p.shape[1]), max(1, n_planes // p.shape[1])
    for i in range(0, len(p), step_b):
        for j in range(0, p.shape[1], step_planes):
            part = slice(i, i + step_b), slice(j, j + step_planes)
            error = F.mse_loss(p[part].to(dtype), g[part].to(dtype), reduction="none")
            # Along rows first: a sum over both sides at once would not run in the order of memory.
            sums[part] = as_patches(error, rows, columns).sum(dim=-1).sum(dim=3)
    worst = (sums.sum(dim=1).flatten(1) / n).max(dim=1)
    return worst.values.mean(), worst.indices


def backward(p: Tensor, g: Tensor, worst: Tensor, dloss: Tensor, rows: int, columns: int) -> Tensor:
    """Returns dp like p."""
    grad = torch.zeros_like(p)
    slope = dloss * (2 * rows * columns / p.numel())
    p, g, out = (as_patches(x, rows, columns) for x in as_planes(p, g, grad))
    sample = torch.arange(len(p), device=p.device)
    at = (sample, slice(None), worst // columns, slice(None), worst % columns)
    out[at] = ((p[at].to(slope.dtype) - g[at].to(slope.dtype)) * slope).to(out.dtype)
    return grad


def _part_bytes(x: Tensor) -> int:
    return _PART_BYTES["cuda" if x.is_cuda else "cpu"]
