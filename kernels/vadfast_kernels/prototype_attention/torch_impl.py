"""APN's prototype attention in plain PyTorch: matrix products over chunks of positions that stay in the cache.

Prototypes come first in every intermediate, [M, positions]: a softmax over few prototypes is then done for many positions at once.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from vadfast_kernels._dtypes import wide
from vadfast_kernels.prototype_attention.op import EPS

# Of positions: what a core's share of the last cache holds, beside dy and dz.
_CHUNK_BYTES = 1 << 20


def forward(z: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Returns y [B, N, C], p [B, M, C], compactness [B, N], and of the prototypes: log-sum-exp of their scores and length [B, M]."""
    (b, n, c), m = z.shape, len(weight)
    y = torch.empty((b, n, c), dtype=z.dtype, device=z.device)
    dtype = wide(z)
    p, compactness, lse, length = (
        torch.empty(shape, dtype=dtype, device=z.device)
        for shape in ((b, m, c), (b, n), (b, m), (b, m))
    )
    weight = weight.to(dtype)
    for i in range(b):
        u, lse[i] = _summed(z[i], weight)
        length[i] = torch.linalg.vector_norm(u, dim=1)
        p[i] = u / length[i].clamp_min(EPS)[:, None]
        gram = p[i] @ p[i].T
        for part in _chunks(z):
            zc = z[i, part].to(dtype)
            found = _retrieve(zc, p[i], gram)
            compactness[i, part] = torch.linalg.vector_norm(found.apart, dim=1).square_()
            # Over the differences, whose memory is in the cache.
            y[i, part] = torch.addmm(zc, found.beta.T, p[i], out=found.apart)
    return y, p, compactness, lse, length


def backward(
    z: Tensor, weight: Tensor, p: Tensor, lse: Tensor, length: Tensor,
    dy: Tensor, dp: Tensor, dcompactness: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Returns dz [B, N, C] and dweight [M, C]."""
    dtype = wide(z)
    dz = torch.empty(z.shape, dtype=z.dtype, device=z.device)
    w = weight.to(dtype)
    dweight = torch.zeros_like(w)
    for i in range(len(z)):
        gram, total = p[i] @ p[i].T, dp[i].clone()
        for part in _chunks(z):
            zc, g = z[i, part].to(dtype), dy[i, part].to(dtype)
            found = _retrieve(zc, p[i], gram)
            ds, along = _retrieve_backward(found, p[i], gram, g)
            own = torch.zeros_like(ds).scatter_(0, found.nearest[None], 1)
            # ds z = ds (z - p*) + ds p*: the gradient of |z - p*|^2 joins the first, the second is a product of M by M.
            among = ds @ own.T - (found.beta * along) @ found.beta.T
            ds.addcmul_(own, dcompactness[i, part], value=-2)
            total += found.beta @ g + ds @ found.apart + among @ p[i]
        u, du = p[i] * length[i][:, None], _length_backward(total, p[i], length[i])
        for part in _chunks(z):
            zc, g, dt = z[i, part].to(dtype), dy[i, part].to(dtype), dcompactness[i, part]
            found = _retrieve(zc, p[i], gram)
            ds, _ = _retrieve_backward(found, p[i], gram, g)
            share = (w @ zc.T - lse[i][:, None]).exp_()  # of a position in each prototype
            dscore = share * (du @ zc.T)  # du . u = 0 but for round-off
            # Positions relative to their mean u: that round-off times u is more than what is left of z - u.
            dweight += dscore @ zc - dscore.sum(dim=1, keepdim=True) * u
            out = found.apart.mul_(2 * dt[:, None]).add_(g)
            out.addmm_(ds.T, p[i]).addmm_(dscore.T, w)
            dz[i, part] = out.addmm_(share.T, du)
    return dz, dweight.to(weight.dtype)


def _length_backward(dp: Tensor, p: Tensor, length: Tensor) -> Tensor:
    """Returns the gradient of u [..., M, C] from that of p = u / |u|: what is along p is lost."""
    return (dp - p * (p * dp).sum(dim=-1, keepdim=True)) / length.clamp_min(EPS).unsqueeze(-1)


@dataclass(frozen=True, slots=True)
class _Retrieved:
    beta: Tensor  # the softmax of scores z . p, over |r|: r / |r| = beta^T p [M, n]
    nearest: Tensor  # which p has the largest score [n]
    apart: Tensor  # z - p*, of which |z|^2 - 2 z . p* + |p*|^2 would lose the digits [n, C]


def _retrieve(z: Tensor, p: Tensor, gram: Tensor) -> _Retrieved:
    scores = p @ z.T
    nearest = scores.max(dim=0).indices  # argmax alone took five times as long
    apart = p.index_select(0, nearest)
    torch.sub(z, apart, out=apart)
    beta = scores.softmax(dim=0)
    length = (beta * (gram @ beta)).sum(dim=0).clamp_min_(0).sqrt_().clamp_min_(EPS)
    return _Retrieved(beta.div_(length), nearest, apart)


def _retrieve_backward(
    found: _Retrieved, p: Tensor, gram: Tensor, g: Tensor
) -> tuple[Tensor, Tensor]:
    """Returns the gradient of the scores [M, n], and dy . r / |r| of each position [n]."""
    to = p @ g.T  # dy . p
    along = (found.beta * to).sum(dim=0)
    ds = found.beta * (to - (gram @ found.beta) * along)  # its sum over m is 0: nothing to subtract
    return ds, along


def _summed(z: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Returns u [M, C] and the log-sum-exp of the scores of each prototype [M]; z is read once."""
    m = len(weight)
    top = weight.new_full((m, 1), float("-inf"))
    total, u = weight.new_zeros(m, 1), torch.zeros_like(weight)
    for part in _chunks(z):
        zc = z[part].to(weight.dtype)
        s = weight @ zc.T  # [M, n]
        new = torch.maximum(top, s.amax(dim=1, keepdim=True))
        share, keep = s.sub_(new).exp_(), (top - new).exp_()
        total = total * keep + share.sum(dim=1, keepdim=True)
        # Not addmm_: with two threads it added position by position to the sum so far, and lost two digits over 65,536.
        u = u.mul_(keep).add_(share @ zc)
        top = new
    return u / total, (top + total.log()).squeeze(1)


def _chunks(z: Tensor) -> Iterator[slice]:
    n, c = z.shape[-2:]
    step = max(1, _CHUNK_BYTES // (c * torch.finfo(wide(z)).bits // 8))
    return (slice(i, min(i + step, n)) for i in range(0, n, step))
