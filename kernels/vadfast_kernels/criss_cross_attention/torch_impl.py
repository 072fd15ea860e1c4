"""Criss-cross attention in plain PyTorch, fast on CPUs: batched products of whole lines, merged by their joint maximum.

Lines go through in chunks whose scores stay in the cache, written over and over into the same memory. The column pass continues
the softmax of the row pass, so neither the map of H + W entries nor a concatenation exists. Scores are in units of log 2, because
exp2 takes half the time of exp; the product's own factor brings them there at no cost.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from vadfast_kernels._dtypes import wide
from vadfast_kernels.criss_cross_attention.layout import channels_first, channels_last

_CHUNK_BYTES = 2 << 20  # of scores: what a core's share of the last cache holds
_LOG2E = math.log2(math.e)


def forward(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Returns y [B, C, H, W] (channels last in memory) and the softmax's state [B, H, W, 2]: largest score, sum of weights."""
    q, k, v = (channels_last(x) for x in (q, k, v))
    b, h, w, _ = q.shape
    y = torch.empty((b, h, w, v.shape[-1]), dtype=wide(v), device=v.device)
    state = torch.empty((b, h, w, 2), dtype=y.dtype, device=v.device)
    top, total = state.split(1, dim=-1)
    for item in zip(q, k, v, y, top, total, strict=True):  # [H, W, .]
        _rows(*item)
        _columns(*(x.transpose(0, 1) for x in item))
    return channels_first(y.to(v.dtype)), state


def _rows(q: Tensor, k: Tensor, v: Tensor, y: Tensor, top: Tensor, total: Tensor) -> None:
    """Writes the weighted sums of each row, their largest score and the sum of their weights."""
    for lines, s in _chunks(q, y.dtype):
        _scores(q[lines], k[lines], out=s)
        m = torch.amax(s, -1, keepdim=True, out=top[lines])
        p = s.sub_(m).exp2_()
        torch.sum(p, -1, keepdim=True, out=total[lines])
        _multiply(p, v[lines], out=y[lines])


def _columns(q: Tensor, k: Tensor, v: Tensor, y: Tensor, top: Tensor, total: Tensor) -> None:
    """Continues with the columns, own position left out: y becomes the mean of both."""
    for lines, s in _chunks(q, y.dtype):
        _scores(q[lines], k[lines], out=s)
        s.diagonal(dim1=-2, dim2=-1).fill_(float("-inf"))
        m = torch.maximum(s.amax(-1, keepdim=True), top[lines])
        p, keep = s.sub_(m).exp2_(), (top[lines] - m).exp2_()
        sum_ = torch.addcmul(p.sum(-1, keepdim=True), total[lines], keep)
        here = torch.bmm(p.to(v.dtype), v[lines]).to(y.dtype).div_(sum_)
        torch.addcmul(here, y[lines], keep.div_(sum_), out=y[lines])
        top[lines], total[lines] = m, sum_


def backward(
    q: Tensor, k: Tensor, v: Tensor, y: Tensor, state: Tensor, dy: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns dq, dk [B, D, H, W] and dv [B, C, H, W], channels last in memory; weights are computed anew from ``state``."""
    q, k, v, y, dy = (channels_last(x) for x in (q, k, v, y, dy))
    dtype = wide(v)
    top, total = state.split(1, dim=-1)  # [B, H, W, 1]
    delta = torch.empty_like(top)
    dq, dk, dv = (torch.empty(x.shape, dtype=dtype, device=x.device) for x in (q, k, v))
    for item in zip(q, k, v, y, dy, top, 1 / total, delta, dq, dk, dv, strict=True):  # [H, W, .]
        _gradients(*item, own=True)
        _gradients(*(x.transpose(0, 1) for x in item), own=False)
    dq, dk, dv = (channels_first(g.to(x.dtype)) for g, x in ((dq, q), (dk, k), (dv, v)))
    return dq, dk, dv


def _gradients(
    q: Tensor, k: Tensor, v: Tensor, y: Tensor, dy: Tensor, top: Tensor, share: Tensor,
    delta: Tensor, dq: Tensor, dk: Tensor, dv: Tensor, *, own: bool,
) -> None:  # fmt: skip
    """Writes the gradients from the rows and delta = dy . y of each position; then adds those from the columns."""
    put = _multiply if own else _add_product
    for (lines, p), (_, ds) in zip(_chunks(q, dq.dtype), _chunks(q, dq.dtype), strict=True):
        _scores(q[lines], k[lines], out=p)
        if own:
            product = dy[lines].to(delta.dtype) * y[lines].to(delta.dtype)
            torch.sum(product, -1, keepdim=True, out=delta[lines])
        else:
            p.diagonal(dim1=-2, dim2=-1).fill_(float("-inf"))
        p.sub_(top[lines]).exp2_().mul_(share[lines])  # [n, L, L]
        put(p.mT, dy[lines], out=dv[lines])
        _multiply(dy[lines], v[lines].mT, out=ds).sub_(delta[lines]).mul_(p)
        put(ds, k[lines], out=dq[lines])
        put(ds.mT, q[lines], out=dk[lines])


def _chunks(q: Tensor, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
    """Some lines at a time, and the memory of their scores [n, L, L]."""
    n_lines, length, _ = q.shape
    step = max(1, _CHUNK_BYTES // (length * length * torch.finfo(dtype).bits // 8))
    scores = torch.empty((min(step, n_lines), length, length), dtype=dtype, device=q.device)
    for i in range(0, n_lines, step):
        yield slice(i, i + step), scores[: n_lines - i]


def _scores(q: Tensor, k: Tensor, *, out: Tensor) -> None:
    """Writes q k^T log2(e) [n, L, L]."""
    if q.dtype == out.dtype:
        torch.baddbmm(out, q, k.mT, beta=0, alpha=_LOG2E, out=out)
    else:
        out.copy_(torch.bmm(q, k.mT)).mul_(_LOG2E)


def _multiply(a: Tensor, b: Tensor, *, out: Tensor) -> Tensor:
    """Writes a b; the product is made in the dtype of ``b``."""
    if b.dtype == out.dtype:
        return torch.bmm(a, b, out=out)
    return out.copy_(torch.bmm(a.to(b.dtype), b))


def _add_product(a: Tensor, b: Tensor, *, out: Tensor) -> None:
    """Adds a b, where ``out`` has strides that a product into it would be slow with."""
    out += torch.bmm(a.to(b.dtype), b)
