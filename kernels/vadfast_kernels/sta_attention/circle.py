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


def plane_of(w: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Returns an orthonormal basis [D, 2] of the plane of w and b, and their coordinates in it [2, 2], both float64.

    In float64: a handful of numbers that cost nothing, and every element's angle rests on them.
    """
    return _gram_schmidt(w.double(), b.double())


def angles_of(f: Tensor, coordinates: Tensor) -> Tensor:
    """Returns the angle of f w + b in the plane of w and b [like f], from ``plane_of``'s coordinates.

    Where f w + b is 0 it has no direction; the angle is then 0, where the reference has the cosine 0.
    """
    coordinates = coordinates.to(f.dtype)
    x = f * coordinates[0, 0] + coordinates[0, 1]
    y = coordinates[1, 1].expand_as(f)  # w lies on the first axis
    return torch.atan2(y, x)


def kernel_of(g: Tensor, n_harmonics: int) -> Tensor:
    """Returns K [2n + 1, 2n + 1] of exp(cosine) for the products ``g`` [2, 2] of the planes; differentiable in ``g``."""
    t = torch.arange(N_SAMPLES, dtype=g.dtype, device=g.device) * (2 * math.pi / N_SAMPLES)
    circle = torch.stack([t.cos(), t.sin()], dim=-1)  # [S, 2]
    values = (circle @ g @ circle.T).exp()  # [S, S]
    project = features(t, n_harmonics).T * (2 / N_SAMPLES)  # [2n + 1, S]
    project = torch.cat([project[:1] / 2, project[1:]])
    return project @ values @ project.T


def cosine(theta: Tensor, phi: Tensor, g: Tensor) -> Tensor:
    """Returns the cosine of each element's query with its own key."""
    x, y = phi.cos(), phi.sin()
    return theta.cos() * (g[0, 0] * x + g[0, 1] * y) + theta.sin() * (g[1, 0] * x + g[1, 1] * y)


def features(t: Tensor, n_harmonics: int, *, dim: int = -1) -> Tensor:
    """psi(t) along a new axis ``dim``: 1, cos t, sin t, ..., cos nt, sin nt.

    By the addition theorem: two sines and cosines in all, and an error of a few units in the last place at n = 9.
    """
    c, s = t.cos(), t.sin()
    shape = list(t.shape)
    shape.insert(dim % (t.dim() + 1), 2 * n_harmonics + 1)
    psi = t.new_empty(shape)  # written in place: a list of harmonics would be as large again
    each = psi.unbind(dim)
    each[0].fill_(1)
    each[1].copy_(c)
    each[2].copy_(s)
    for m in range(3, 2 * n_harmonics + 1, 2):
        cosine_, sine = each[m - 2], each[m - 1]
        each[m].copy_(cosine_ * c - sine * s)
        each[m + 1].copy_(sine * c + cosine_ * s)
    return psi


def error_bound(n_harmonics: int) -> float:
    """Returns how far psi(theta)^T K psi(phi), or its derivative by an angle, is from exp(cosine)'s at most, in exact arithmetic."""
    return 4 * sum(m * _bessel_i(m, 1.0) for m in range(n_harmonics + 1, n_harmonics + 30))


def harmonics_for(max_error: float) -> int:
    """Returns the fewest harmonics whose ``error_bound`` is at most ``max_error``."""
    return next(n for n in range(1, 40) if error_bound(n) <= max_error)


def _gram_schmidt(w: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """On (w, b). Where one of them is 0, or they are parallel, an axis is 0: nothing points along it."""
    tiny = torch.finfo(w.dtype).tiny
    length = w.norm()
    first = w / length.clamp_min(tiny)
    along = first @ b
    rest = b - along * first
    height = rest.norm()
    basis = torch.stack([first, rest / height.clamp_min(tiny)], dim=-1)
    zero = torch.zeros_like(height)
    return basis, torch.stack([torch.stack([length, along]), torch.stack([zero, height])])


def _bessel_i(order: int, x: float) -> float:
    return sum(
        (x / 2) ** (2 * k + order) / (math.factorial(k) * math.factorial(k + order))
        for k in range(25)
    )
