"""STA's attention with exp itself: every score from two angles, and no maximum, because a cosine is at most 1.

The one decision to know: with z = (cos, sin) of an angle the cosine is z_query G z_key^T, so one kernel serves queries and keys,
forward and backward: sums over an element's cross of exp(z G z'^T) x (a, b), and for gradients of the same times z'. What follows
is a few operations an element, in PyTorch. O(N C (N + C)) time, O(N C) memory.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from vadfast_kernels._constants import LOG2E
from vadfast_kernels.sta_attention import tuned
from vadfast_kernels.sta_attention.triton_circle import cos_sin, sources


@triton.jit
def sta_exact_kernel(
    sums_ptr, own_ptr, other_ptr, a_ptr, b_ptr, g_ptr, N, C, SIZE,
    BLOCK: tl.constexpr, BLOCK_OTHER: tl.constexpr, WEIGHTED: tl.constexpr, MOMENTS: tl.constexpr,
):  # fmt: skip
    """Sums of one tile of elements of one row: over the row, then over their columns; each element itself is in both."""
    line = tl.program_id(0).to(tl.int64)
    bag = line // N
    c = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = c < C
    own = tl.load(own_ptr + line * C + c, mask=inside, other=0.0)
    cos, sin = cos_sin(own)
    toward_x = (cos * tl.load(g_ptr) + sin * tl.load(g_ptr + 2)) * LOG2E
    toward_y = (cos * tl.load(g_ptr + 1) + sin * tl.load(g_ptr + 3)) * LOG2E
    # A lane keeps its own partners' sums: one reduction at the end of the row, not one a tile.
    zero = tl.zeros((BLOCK, BLOCK_OTHER), tl.float32)
    a_sum, b_sum, ax_sum, ay_sum, bx_sum, by_sum = zero, zero, zero, zero, zero, zero
    for first in range(0, C, BLOCK_OTHER):
        to = first + tl.arange(0, BLOCK_OTHER)
        other = tl.load(other_ptr + line * C + to, mask=to < C, other=0.0)
        a, b = sources(a_ptr, b_ptr, line * C + to, to < C, WEIGHTED)
        x, y = cos_sin(other)
        e = tl.exp2(toward_x[:, None] * x[None, :] + toward_y[:, None] * y[None, :])
        a_sum += e * a[None, :]
        b_sum += e * b[None, :]
        if MOMENTS:
            ax_sum += e * (a * x)[None, :]
            ay_sum += e * (a * y)[None, :]
            bx_sum += e * (b * x)[None, :]
            by_sum += e * (b * y)[None, :]
    a_sum, b_sum = tl.sum(a_sum, 1), tl.sum(b_sum, 1)
    if MOMENTS:
        ax_sum, ay_sum = tl.sum(ax_sum, 1), tl.sum(ay_sum, 1)
        bx_sum, by_sum = tl.sum(bx_sum, 1), tl.sum(by_sum, 1)
    for n in range(N):
        at = (bag * N + n) * C + c
        other = tl.load(other_ptr + at, mask=inside, other=0.0)
        a, b = sources(a_ptr, b_ptr, at, inside, WEIGHTED)
        x, y = cos_sin(other)
        e = tl.exp2(toward_x * x + toward_y * y)
        a_sum += e * a
        b_sum += e * b
        if MOMENTS:
            ax_sum += e * (a * x)
            ay_sum += e * (a * y)
            bx_sum += e * (b * x)
            by_sum += e * (b * y)
    sums_ptr += line * C + c
    tl.store(sums_ptr, a_sum, mask=inside)
    tl.store(sums_ptr + SIZE, b_sum, mask=inside)
    if MOMENTS:
        tl.store(sums_ptr + 2 * SIZE, ax_sum, mask=inside)
        tl.store(sums_ptr + 3 * SIZE, ay_sum, mask=inside)
        tl.store(sums_ptr + 4 * SIZE, bx_sum, mask=inside)
        tl.store(sums_ptr + 5 * SIZE, by_sum, mask=inside)


def forward(theta: Tensor, phi: Tensor, f: Tensor, own: Tensor, g: Tensor) -> Tensor:
    """Returns the mean of f over each element's cross [B, N, C]; ``triton_impl.forward`` has the rest."""
    top, bottom = _sums(theta, phi, f, None, g, moments=False)
    return (top - own * f) / (bottom - own)


def backward(
    theta: Tensor, phi: Tensor, f: Tensor, own: Tensor, g: Tensor, dmean: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Returns the gradients of theta, phi, f, own and G; f is centred."""
    top, bottom, top_x, top_y, bottom_x, bottom_y = _sums(theta, phi, f, None, g, moments=True)
    total = bottom - own
    mean = (top - own * f) / total
    a = dmean / total
    b = -a * mean
    # The gradient of z_query G.
    x, y = a * top_x + b * bottom_x, a * top_y + b * bottom_y
    cos, sin = theta.cos(), theta.sin()
    dg = torch.stack([(u * v).sum(dtype=torch.float64) for u in (cos, sin) for v in (x, y)])
    dtheta = cos * (g[1, 0] * x + g[1, 1] * y) - sin * (g[0, 0] * x + g[0, 1] * y)

    values, _, values_x, values_y, weights_x, weights_y = _sums(phi, theta, a, b, g.T, moments=True)
    # The gradient of G z_key.
    x, y = values_x * f + weights_x, values_y * f + weights_y
    cos, sin = phi.cos(), phi.sin()
    dphi = cos * (g[0, 1] * x + g[1, 1] * y) - sin * (g[0, 0] * x + g[1, 0] * y)
    return dtheta, dphi, values - a * own, a * (mean - f), dg.view(2, 2).to(g.dtype)


def _sums(
    own: Tensor, other: Tensor, a: Tensor, b: Tensor | None, g: Tensor, *, moments: bool
) -> Tensor:
    """Returns sums over each element's cross of exp(z G z'^T) x (a, b), or (a, 1): [2, B, N, C], or with ``moments`` [6, B, N, C]: also times x' and y'."""
    n_bags, n, c = a.shape
    block = tuned.EXACT_OWN_BACKWARD if moments else tuned.EXACT_OWN
    sums = a.new_empty((6 if moments else 2, *a.shape))
    sta_exact_kernel[n_bags * n, triton.cdiv(c, block)](
        sums, own, other, a, a if b is None else b, g.contiguous(), n, c, a.numel(),
        BLOCK=block, BLOCK_OTHER=tuned.EXACT_OTHER, WEIGHTED=b is not None, MOMENTS=moments,
        num_warps=tuned.EXACT_WARPS,
    )  # fmt: skip
    return sums
