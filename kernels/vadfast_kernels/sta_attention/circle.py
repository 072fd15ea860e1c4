r"""Why STA's attention is linear in the number of its elements: queries and keys lie on circles.

f has one channel, so q = f w_q + b_q runs along a straight line, and q / |q| along a circle in the plane of w_q and b_q. Let theta
be its angle there, phi that of k / |k| in the plane of w_k and b_k, and G [2, 2] the products of the two planes' basis vectors,
|G| <= 1. Exactly::

    cosine(q, k)  =  (cos theta, sin theta) G (cos phi, sin phi)^T

exp of it is periodic and analytic in both angles, so its Fourier series ends as fast as any can. With the 2 n + 1 functions
psi = (1, cos t, sin t, ..., cos n t, sin n t)::

    exp(cosine(q, k))  =  psi(theta)^T K psi(phi)  +  error,      |error| <= 4 sum_{m > n} I_m(1)

(I_m: modified Bessel functions; by the singular values of G the exponent is p cos(t - u) + r cos(t + u) with p + r <= 1, and
sum_j I_j(p) I_{k-j}(r) = I_k(p + r).) Its derivative by an angle is off by 4 sum_{m > n} m I_m(1) at most, and that is the bound
that chooses n: 9 gives 1e-8, below the resolution of float32. A softmax over a whole line is then 2 n + 1
sums over the line, and 2 n + 1 products at each element.

This replaces the degree-n polynomial in two variables, (n + 1)(n + 2) / 2 terms: on the circle those are linearly dependent.
"""

import math

import torch
from torch import Tensor

N_SAMPLES = 64  # of each angle: aliases of harmonics beyond 64 - n are below 1e-60
# What is left of b across w, as a share of b: less is rounding, and the axis made of it would be any, even w's own.
PARALLEL = 1e-12


def prepared(
    wq: Tensor, bq: Tensor, wk: Tensor, bk: Tensor, n_harmonics: int
) -> tuple[Tensor, Tensor]:
    """Returns ``planes_of`` and ``kernel_of`` in the dtype of the weights, with no harmonics K as [0, 0]; differentiable.

    In float64: a handful of numbers that cost nothing, and every element's angle rests on them.
    """
    planes = planes_of(wq.double(), bq.double(), wk.double(), bk.double())
    g = planes[6:].view(2, 2)
    kernel = kernel_of(g, n_harmonics) if n_harmonics else g.new_empty((0, 0))
    return planes.to(wq.dtype), kernel.to(wq.dtype)


def planes_of(wq: Tensor, bq: Tensor, wk: Tensor, bk: Tensor) -> Tensor:
    """Returns ten numbers: of w and b in an orthonormal basis of their plane |w|, b along w and b across it, for q and for k; G by rows.

    Gram and Schmidt, on (w, b). Where one of them is 0, or they are parallel, an axis is 0: nothing points along it.
    """
    w, b = torch.stack([wq, wk]), torch.stack([bq, bk])  # [2, D]
    tiny = torch.finfo(w.dtype).tiny
    length = w.norm(dim=1)
    first = w / length.clamp_min(tiny)[:, None]
    along = (first * b).sum(dim=1)
    rest = b - along[:, None] * first
    rest = rest.masked_fill((rest.norm(dim=1) <= PARALLEL * b.norm(dim=1))[:, None], 0)
    height = rest.norm(dim=1)
    basis = torch.stack([first, rest / height.clamp_min(tiny)[:, None]], dim=1)  # [2, axes, D]
    g = basis[0] @ basis[1].T
    return torch.cat([torch.stack([length, along, height], dim=1).flatten(), g.flatten()])


def direction_of(f: Tensor, line: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns cosine and sine of the angle of f w + b in its plane, and 1 / |f w + b| [like f]; ``line`` is three of ``planes_of``.

    Where f w + b is 0 it has no direction; the angle is then 0, where the reference has the cosine 0, and so is its gradient.
    """
    slope, along, height = line.unbind()
    x = f * slope + along
    square = torch.addcmul(height * height, x, x)
    nowhere = square == 0
    inverse = square.rsqrt_().masked_fill_(nowhere, 0)
    return x.mul_(inverse).masked_fill_(nowhere, 1), height * inverse, inverse


def toward(z: tuple[Tensor, Tensor], g: Tensor) -> tuple[Tensor, Tensor]:
    """Returns z G for the cosine and sine of queries; with G^T, for those of keys."""
    return z[0] * g[0, 0] + z[1] * g[1, 0], z[0] * g[0, 1] + z[1] * g[1, 1]


def kernel_of(g: Tensor, n_harmonics: int) -> Tensor:
    """Returns K [2n + 1, 2n + 1] of exp(cosine) for the products ``g`` [2, 2] of the planes; differentiable in ``g``."""
    t = torch.arange(N_SAMPLES, dtype=g.dtype, device=g.device) * (2 * math.pi / N_SAMPLES)
    phase = t[:, None] * torch.arange(1, n_harmonics + 1, dtype=g.dtype, device=g.device)
    waves = torch.stack([phase.cos(), phase.sin()], dim=-1).flatten(1)  # [S, 2n]
    circle = waves[:, :2]
    values = (circle @ g @ circle.T).exp()  # [S, S]
    project = torch.cat([torch.full_like(t[:, None], 0.5), waves], dim=1).T * (2 / N_SAMPLES)
    return project @ values @ project.T


def features(z: tuple[Tensor, Tensor], n_harmonics: int, *, dim: int = -1) -> Tensor:
    """psi(t) along a new axis ``dim``: 1, cos t, sin t, ..., cos nt, sin nt, for z = (cos t, sin t).

    By the addition theorem: an error of a few units in the last place at n = 9.
    """
    c, s = z
    shape = list(c.shape)
    shape.insert(dim % (c.dim() + 1), 2 * n_harmonics + 1)
    psi = c.new_empty(shape)  # written in place: a list of harmonics would be as large again
    each = psi.unbind(dim)
    each[0].fill_(1)
    each[1].copy_(c)
    each[2].copy_(s)
    for m in range(3, 2 * n_harmonics + 1, 2):
        cosine, sine = each[m - 2], each[m - 1]
        each[m].copy_(cosine * c - sine * s)
        each[m + 1].copy_(sine * c + cosine * s)
    return psi


def error_bound(n_harmonics: int) -> float:
    """Returns how far psi(theta)^T K psi(phi), or its derivative by an angle, is from exp(cosine)'s at most, in exact arithmetic."""
    return 4 * sum(m * _bessel_i(m, 1.0) for m in range(n_harmonics + 1, n_harmonics + 30))


def harmonics_for(max_error: float) -> int:
    """Returns the fewest harmonics whose ``error_bound`` is at most ``max_error``."""
    return next(n for n in range(1, 40) if error_bound(n) <= max_error)


def _bessel_i(order: int, x: float) -> float:
    return sum(
        (x / 2) ** (2 * k + order) / (math.factorial(k) * math.factorial(k + order))
        for k in range(25)
    )
