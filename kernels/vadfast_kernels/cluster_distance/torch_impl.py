"""The soft distance to cluster centres by products of matrices, over parts that stay in the cache.

The one decision to know: |x|^2 - 2 x c + |c|^2 cancels where x is close to c, which is where training takes it. So a first product
only finds the nearest centre c_j, and a second one measures from there, with e = x - c_j and all of it small::

    |x - c_k|^2  =  |e|^2 + 2 e (c_j - c_k) + |c_j - c_k|^2
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from vadfast_kernels._dtypes import wide

# Of positions at a time: what stays in a CPU's cache, and what keeps a GPU busy.
_PART_BYTES = {"cpu": 1 << 20, "cuda": 256 << 20}


def forward(r: Tensor, centres: Tensor, alpha: float) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the soft distance [B, N], the distances [B, N, K], and which centre is nearest [B, N]."""
    c = centres.to(wide(r, centres))
    lengths = c.square().sum(dim=-1)
    between = torch.cdist(c, c, compute_mode="donot_use_mm_for_euclid_dist").square()
    d = r.new_empty((*r.shape[:2], len(c)), dtype=c.dtype)
    nearest = r.new_empty(r.shape[:2], dtype=torch.int64)
    for part in _parts(r, c.dtype):
        x = r[part].to(c.dtype).flatten(0, 1)  # [n, C]
        j = torch.addmm(lengths, x, c.T, alpha=-2).argmin(dim=-1)  # |x|^2 is the same for all
        back = _nearest(c, j, like=x).sub_(x)  # -e
        along = back @ c.T  # [n, K]
        own = along.gather(1, j.unsqueeze(1))
        least = torch.linalg.vector_norm(back, dim=-1, keepdim=True).square_()
        squares = along.sub_(own).mul_(2).add_(between[j]).add_(least)
        d[part] = squares.clamp_min_(0).sqrt_().view_as(d[part])
        nearest[part] = j.view_as(nearest[part])
    return (_weights(d, alpha) * d).sum(dim=-1), d, nearest


def backward(
    r: Tensor, centres: Tensor, d: Tensor, nearest: Tensor, dout: Tensor, alpha: float
) -> tuple[Tensor, Tensor]:
    """Returns dr like r and dcentres [K, C]."""
    c = centres.to(d.dtype)
    slope = _slope(d, dout, alpha)  # [B, N, K]: dr = sum_k slope_k (x - c_k)
    # x - c_k = e + (c_j - c_k), and the bracket is exactly 0 at the nearest: there is no cancellation to suffer from.
    at_nearest = nearest.unsqueeze(-1)
    others = slope.scatter(-1, at_nearest, 0.0)
    # Of the positions nearest to j, their slopes to k. A product and not index_add, which on a GPU adds in any order.
    is_nearest = F.one_hot(nearest, len(c)).to(c.dtype)
    moved = is_nearest.flatten(0, 1).T @ others.flatten(0, 1)  # [K, K]
    dc = c * moved.sum(dim=0).unsqueeze(1) - moved.T @ c
    total = slope.sum(dim=-1, keepdim=True)
    others.scatter_(-1, at_nearest, -others.sum(dim=-1, keepdim=True))
    dr = torch.empty_like(r)
    for part in _parts(r, c.dtype):
        x, j = r[part].to(c.dtype).flatten(0, 1), nearest[part].flatten()
        back = _nearest(c, j, like=x).sub_(x)  # -e
        dc.addmm_(slope[part].flatten(0, 1).T, back)
        dx = torch.addmm(back.mul_(total[part].flatten(0, 1)), others[part].flatten(0, 1), c)
        dr[part] = dx.neg_().view_as(dr[part])
    return dr, dc.to(centres.dtype)


def _nearest(c: Tensor, j: Tensor, *, like: Tensor) -> Tensor:
    """The rows ``j`` of the centres [n, C], in the memory order of ``like``: that of a map is by channels."""
    if like.stride(0) == 1:
        return c.T.contiguous().index_select(1, j).T
    return c.index_select(0, j)


def _slope(d: Tensor, dout: Tensor, alpha: float) -> Tensor:
    """The derivative of the soft distance by each distance, over that distance; 0 where position and centre are the same."""
    p = _weights(d, alpha)
    mean = (p * d).sum(dim=-1, keepdim=True)
    by_distance = p * (1 - alpha * (d - mean)) * dout.unsqueeze(-1)
    return torch.where(d == 0, 0.0, by_distance / d)


def _weights(d: Tensor, alpha: float) -> Tensor:
    return (-alpha * d).softmax(dim=-1)


def _parts(r: Tensor, dtype: torch.dtype) -> Iterator[tuple[slice, slice]]:
    """Images, or positions of one image where it is large."""
    b, n, c = r.shape
    n_positions = max(1, _PART_BYTES["cuda" if r.is_cuda else "cpu"] // (c * dtype.itemsize))
    step_b, step_n = max(1, n_positions // n), min(n, n_positions)
    for i in range(0, b, step_b):
        for j in range(0, n, step_n):
            yield slice(i, i + step_b), slice(j, j + step_n)
