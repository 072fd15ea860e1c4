"""STA's attention in plain PyTorch, linear in the number of elements: ``circle.py`` in batched products, some bags at a time.

The features of those bags (2 n + 1 numbers an element) are the largest thing that exists; they are made anew for the gradient.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from vadfast_kernels.sta_attention.circle import features

# Of features at a time: what stays in a CPU's cache, and what keeps a GPU busy.
_CHUNK_BYTES = {"cpu": 8 << 20, "cuda": 256 << 20}
_ROWS = 4


def forward(theta: Tensor, phi: Tensor, f: Tensor, own: Tensor, kernel: Tensor) -> Tensor:
    """Returns the mean of f over each element's cross [B, N, C].

    Args:
        theta: angles of the queries [B, N, C].
        phi: angles of the keys [B, N, C].
        f: values [B, N, C].
        own: exp of the cosine of each element with itself [B, N, C]: it is in the row and in the column, and once too often.
        kernel: K [2n + 1, 2n + 1].
    """
    mean = f.new_empty(f.shape)
    for b in _bags(f, kernel):
        at_query, at_key, values, own_, k = _wide(theta[b], phi[b], f[b], own[b], kernel)
        sums = _scatter(_features(at_key, k), _sources(values))
        mean[b] = _mean(_features(at_query, k), sums, values, own_, k)[0]
    return mean


def backward(
    theta: Tensor, phi: Tensor, f: Tensor, own: Tensor, kernel: Tensor, dmean: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Returns the gradients of theta, phi, f, own and kernel; the mean is made anew, unrounded."""
    dtheta, dphi, df, down = (f.new_empty(f.shape) for _ in range(4))
    dkernel = torch.zeros_like(*_wide(kernel))
    for b in _bags(f, kernel):
        t, p, values, own_, k, dmean_ = _wide(theta[b], phi[b], f[b], own[b], kernel, dmean[b])
        at_query, at_key, sources = _features(t, k), _features(p, k), _sources(values)
        rows, columns = _scatter(at_key, sources)
        mean, total = _mean(at_query, (rows, columns), values, own_, k)
        # mean = (top - own f) / (bottom - own)
        dtop = dmean_ / total
        dsums = torch.stack([dtop, -dtop * mean], dim=2)  # [B, N, 2, C]
        down[b] = dtop * (mean - values)
        # The transpose of a sum over the cross is a sum over the cross: queries scatter, keys gather.
        drows, dcolumns = _scatter(at_query, dsums)
        df[b] = _gather(at_key, (drows, dcolumns), k.T)[:, :, 0] - dtop * own_
        dtheta[b] = _along(at_query, (rows, columns), k, dsums)
        dphi[b] = _along(at_key, (drows, dcolumns), k.T, sources)
        dkernel += torch.einsum("bnfs,bngs->fg", drows, rows)
        dkernel += torch.einsum("bsfc,bsgc->fg", dcolumns, columns)
    return dtheta, dphi, df, down, dkernel.to(kernel.dtype)


def _wide(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Float64 on the CPU, where it takes twice the time: the weights' gradients are sums that nearly cancel."""
    return tuple(x if x.is_cuda else x.double() for x in tensors)


def _mean(
    psi: Tensor, sums: tuple[Tensor, Tensor], f: Tensor, own: Tensor, kernel: Tensor
) -> tuple[Tensor, Tensor]:
    top, bottom = _gather(psi, sums, kernel).unbind(dim=2)
    total = bottom - own
    return (top - own * f) / total, total


def _bags(f: Tensor, kernel: Tensor) -> Iterator[slice]:
    bag = f[0].numel() * len(kernel) * (f.element_size() if f.is_cuda else 8)
    step = max(1, _CHUNK_BYTES["cuda" if f.is_cuda else "cpu"] // bag)
    return (slice(i, i + step) for i in range(0, len(f), step))


def _sources(f: Tensor) -> Tensor:
    """What is summed for the mean's two halves: f and 1 [B, N, 2, C]."""
    return torch.stack([f, torch.ones_like(f)], dim=2)


def _features(t: Tensor, kernel: Tensor) -> Tensor:
    """psi(t): [B, N, C] -> [B, N, 2n + 1, C]."""
    return features(t, len(kernel) // 2, dim=2)


def _scatter(psi: Tensor, sources: Tensor) -> tuple[Tensor, Tensor]:
    """Sums psi x source over each row [B, N, F, 2] and over each column [B, 2, F, C]."""
    rows = psi @ sources.mT
    b, n, _, c = psi.shape
    columns = psi.new_zeros((b, 2, psi.shape[2], c))
    # Some rows at a time: the product of all would be as large as the features themselves.
    for i in range(0, n, _ROWS):
        for s in range(2):
            columns[:, s] += (psi[:, i : i + _ROWS] * sources[:, i : i + _ROWS, s, None]).sum(dim=1)
    return rows, columns


def _gather(psi: Tensor, sums: tuple[Tensor, Tensor], kernel: Tensor) -> Tensor:
    """psi^T K (row + column sum) at each element, for both sources [B, N, 2, C]."""
    rows, columns = sums
    out = (kernel @ rows).mT @ psi  # [B, N, 2, C]
    columns = kernel @ columns  # [B, 2, F, C]
    for s in range(2):
        for f in range(psi.shape[2]):
            out[:, :, s].addcmul_(psi[:, :, f], columns[:, s, None, f])
    return out


def _along(psi: Tensor, sums: tuple[Tensor, Tensor], kernel: Tensor, weights: Tensor) -> Tensor:
    """The derivative of sum_s weight_s psi^T K sums_s by the angle of psi [B, N, C]."""
    return (_gather(_turned(psi), sums, kernel) * weights).sum(dim=2)


def _turned(psi: Tensor) -> Tensor:
    """The derivative of psi by t: cos mt -> -m sin mt, sin mt -> m cos mt."""
    out = torch.zeros_like(psi)
    order = torch.arange(1, psi.shape[2] // 2 + 1, dtype=psi.dtype, device=psi.device)[:, None]
    out[:, :, 1::2] = -order * psi[:, :, 2::2]
    out[:, :, 2::2] = order * psi[:, :, 1::2]
    return out
