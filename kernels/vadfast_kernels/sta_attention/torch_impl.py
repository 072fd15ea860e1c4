"""STA's attention in plain PyTorch, linear in the number of elements: ``circle.py`` in batched products, some bags at a time.

The features of those bags (2 n + 1 numbers an element) are the largest thing that exists; they are made anew for the gradient.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from vadfast_kernels.sta_attention.circle import direction_of, features, prepared, toward

# Of features at a time: what stays in a CPU's cache, and what keeps a GPU busy.
_CHUNK_BYTES = {"cpu": 8 << 20, "cuda": 256 << 20}
_ROWS = 4

prepare = prepared


def forward(f: Tensor, planes: Tensor, kernel: Tensor) -> Tensor:
    """Returns f plus its mean over each element's cross [B, N, C].

    Args:
        f: values [B, N, C].
        planes: ``circle.planes_of``'s ten numbers.
        kernel: K [2n + 1, 2n + 1].
    """
    y = f.new_empty(f.shape)
    wide_planes, k = _wide(planes, kernel)
    for b in _bags(f, kernel):
        (values,) = _wide(f[b])
        query, key = _directions(values, wide_planes)
        sums = _scatter(_features(key, k), _sources(values))
        own = _own(query, key, wide_planes)
        y[b] = _mean(_features(query, k), sums, values, own, k)[0].add_(values)
    return y


def backward(
    f: Tensor, planes: Tensor, kernel: Tensor, dy: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the gradients of f, planes and kernel; the mean is made anew, unrounded."""
    df = f.new_empty(f.shape)
    dplanes, dkernel = (x.new_zeros(x.shape, dtype=torch.float64) for x in (planes, kernel))
    wide_planes, k = _wide(planes, kernel)
    g = wide_planes[6:].view(2, 2)
    for b in _bags(f, kernel):
        values, dy_ = _wide(f[b], dy[b])
        query, key = _directions(values, wide_planes)
        at_query, at_key, sources = _features(query, k), _features(key, k), _sources(values)
        own = _own(query, key, wide_planes)
        rows, columns = _scatter(at_key, sources)
        mean, total = _mean(at_query, (rows, columns), values, own, k)
        # mean = (top - own f) / (bottom - own)
        dtop = dy_ / total
        dsums = torch.stack([dtop, -dtop * mean], dim=2)  # [B, N, 2, C]
        dcosine = dtop * (mean - values) * own
        # The transpose of a sum over the cross is a sum over the cross: queries scatter, keys gather.
        drows, dcolumns = _scatter(at_query, dsums)
        direct = _gather(at_key, (drows, dcolumns), k.T)[:, :, 0] - dtop * own + dy_
        dtheta = _along(at_query, (rows, columns), k, dsums)
        dtheta += dcosine * _slope(query, toward(key[:2], g.T))
        dphi = _along(at_key, (drows, dcolumns), k.T, sources)
        dphi += dcosine * _slope(key, toward(query[:2], g))
        for i, dangle, z in ((0, dtheta, query), (3, dphi, key)):
            dangle *= z[2]
            dx = -dangle * z[1]
            direct += dx * wide_planes[i]
            dplanes[i] += _dot(dx, values)
            dplanes[i + 1] += dx.sum(dtype=torch.float64)
            dplanes[i + 2] += _dot(dangle, z[0])
        turned = [dcosine * u for u in query[:2]]
        dplanes[6:] += torch.stack([_dot(u, v) for u in turned for v in key[:2]])
        df[b] = direct
        dkernel += torch.einsum("bnfs,bngs->fg", drows, rows)
        dkernel += torch.einsum("bsfc,bsgc->fg", dcolumns, columns)
    return df, dplanes.to(planes.dtype), dkernel.to(kernel.dtype)


_Direction = tuple[Tensor, Tensor, Tensor]


def _directions(f: Tensor, planes: Tensor) -> tuple[_Direction, _Direction]:
    """Those of the queries, and of the keys."""
    return direction_of(f, planes[:3]), direction_of(f, planes[3:6])


def _own(query: _Direction, key: _Direction, planes: Tensor) -> Tensor:
    """The exp of each element's cosine with itself: it is in the row and in the column, once too often."""
    x, y = toward(query[:2], planes[6:].view(2, 2))
    return (x * key[0] + y * key[1]).exp_()


def _slope(z: _Direction, to: tuple[Tensor, Tensor]) -> Tensor:
    """The derivative of z . to by the angle of z."""
    return z[0] * to[1] - z[1] * to[0]


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Their product's sum in float64, on any device: these sums nearly cancel."""
    return a.double().flatten().dot(b.double().flatten())


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


def _features(z: _Direction, kernel: Tensor) -> Tensor:
    """The features of an angle: [B, N, C] -> [B, N, 2n + 1, C]."""
    return features(z[:2], len(kernel) // 2, dim=2)


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
