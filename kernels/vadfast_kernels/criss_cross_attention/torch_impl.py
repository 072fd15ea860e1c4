"""Criss-cross attention in plain PyTorch, fast on CPUs: batched products of whole lines, merged by their joint maximum.

Lines go through in chunks whose scores stay in the cache. The column pass continues the softmax of the row pass, so neither the
map of H + W entries nor a concatenation exists.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from vadfast_kernels._dtypes import wide
from vadfast_kernels.criss_cross_attention.layout import channels_first, channels_last

_CHUNK_BYTES = 2 << 20  # of scores: what a core's share of the last cache holds


def forward(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Returns y [B, C, H, W] (channels last in memory) and the log-sum-exp of all scores [B, H, W] float32."""
    q, k, v = (channels_last(x) for x in (q, k, v))
    b, h, w, _ = q.shape
    y = torch.empty((b, h, w, v.shape[-1]), dtype=wide(v), device=v.device)
    top = torch.empty((b, h, w, 1), dtype=y.dtype, device=v.device)
    total = torch.empty_like(top)
    for lines in _chunks(q, h, w):
        s = _scores(q[:, lines], k[:, lines])  # [B, n, W, W]
        m = s.amax(-1, keepdim=True)
        p = s.sub_(m).exp_()
        top[:, lines], total[:, lines] = m, p.sum(-1, keepdim=True)
        y[:, lines] = p.to(v.dtype) @ v[:, lines]
    q, k, v, y_, top_, total_ = (x.transpose(1, 2) for x in (q, k, v, y, top, total))
    for lines in _chunks(q, w, h):
        s = _scores(q[:, lines], k[:, lines])  # [B, n, H, H]
        s.diagonal(dim1=-2, dim2=-1).fill_(float("-inf"))
        m = torch.maximum(s.amax(-1, keepdim=True), top_[:, lines])
        p, keep = s.sub_(m).exp_(), (top_[:, lines] - m).exp_()
        total_[:, lines] = total_[:, lines] * keep + p.sum(-1, keepdim=True)
        y_[:, lines] = y_[:, lines] * keep + (p.to(v.dtype) @ v[:, lines])
        top_[:, lines] = m
    y /= total
    lse = (top + total.log()).squeeze(-1).float()
    return channels_first(y.to(v.dtype)), lse


def backward(
    q: Tensor, k: Tensor, v: Tensor, y: Tensor, lse: Tensor, dy: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns dq, dk [B, D, H, W] and dv [B, C, H, W], channels last in memory; scores are computed anew from ``lse``."""
    q, k, v, y, dy = (channels_last(x) for x in (q, k, v, y, dy))
    dtype = wide(v)
    lse = lse.to(dtype).unsqueeze(-1)  # [B, H, W, 1]
    delta = (dy.to(dtype) * y.to(dtype)).sum(-1, keepdim=True)  # [B, H, W, 1]
    dq, dk, dv = (torch.zeros(x.shape, dtype=dtype, device=x.device) for x in (q, k, v))
    for own_line in (True, False):
        if not own_line:
            q, k, v, dy, lse, delta = (x.transpose(1, 2) for x in (q, k, v, dy, lse, delta))
            dq, dk, dv = (x.transpose(1, 2) for x in (dq, dk, dv))
        for lines in _chunks(q, q.shape[1], q.shape[2]):
            s = _scores(q[:, lines], k[:, lines])
            if not own_line:
                s.diagonal(dim1=-2, dim2=-1).fill_(float("-inf"))
            p = s.sub_(lse[:, lines]).exp_()  # [B, n, L, L]
            dv[:, lines] += p.to(dy.dtype).mT @ dy[:, lines]
            ds = (dy[:, lines] @ v[:, lines].mT).to(dtype).sub_(delta[:, lines]).mul_(p).to(q.dtype)
            dq[:, lines] += ds @ k[:, lines]
            dk[:, lines] += ds.mT @ q[:, lines]
    # Two transpositions in all have brought nothing back: they are undone here.
    dq, dk, dv = (
        channels_first(g.transpose(1, 2).to(x.dtype)) for g, x in ((dq, q), (dk, k), (dv, v))
    )
    return dq, dk, dv


def _scores(q: Tensor, k: Tensor) -> Tensor:
    """[B, n, L, L], owned by the caller."""
    return (q @ k.mT).to(wide(q))


def _chunks(q: Tensor, n_lines: int, length: int) -> Iterator[slice]:
    line = q.shape[0] * length * length * torch.finfo(wide(q)).bits // 8
    step = max(1, _CHUNK_BYTES // max(line, 1))
    return (slice(i, min(i + step, n_lines)) for i in range(0, n_lines, step))
