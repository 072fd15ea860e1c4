"""STA's attention with exp itself: every score from two directions, and no maximum, because a cosine is at most 1.

The one decision to know: with z = (cos, sin) of an angle the cosine is z_query G z_key^T, so one loop serves queries and keys,
forward and backward: sums over an element's cross of exp(z G z'^T) x (a, b), and for gradients of the same times z'. What follows
is a few operations an element, where the sums are. O(N C (N + C)) time, O(N C) memory.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from vadfast_kernels._constants import LOG2E
from vadfast_kernels.sta_attention import tuned
from vadfast_kernels.sta_attention.triton_circle import (
    KEY,
    QUERY,
    added,
    chained,
    direction_of,
    own_of,
    sources,
    store_parts,
    toward_keys,
    toward_queries,
)


@triton.jit
def sums_over_cross(
    x, y, f_ptr, shift, a_ptr, b_ptr, planes_ptr, line, bag, c, inside, N, C,
    LINE: tl.constexpr, BLOCK: tl.constexpr, BLOCK_OTHER: tl.constexpr,
    WEIGHTED: tl.constexpr, MOMENTS: tl.constexpr,
):  # fmt: skip
    """Sums over the row of one tile of elements, then over their columns, of exp((x, y) z'^T) x ``sources``; each element itself is in both.

    Six: of both sources, and with ``MOMENTS`` of each times z'.
    """
    x, y = x * LOG2E, y * LOG2E
    # A lane keeps its own partners' sums: one reduction at the end of the row, not one a tile.
    zero = tl.zeros((BLOCK, BLOCK_OTHER), tl.float32)
    a_sum, b_sum, ax_sum, ay_sum, bx_sum, by_sum = zero, zero, zero, zero, zero, zero
    for first in range(0, C, BLOCK_OTHER):
        to = first + tl.arange(0, BLOCK_OTHER)
        f = tl.load(f_ptr + line * C + to, mask=to < C, other=0.0)
        a, b = sources(f, shift, a_ptr, b_ptr, line * C + to, to < C, WEIGHTED)
        cos, sin, _ = direction_of(f, planes_ptr, LINE)
        e = tl.exp2(x[:, None] * cos[None, :] + y[:, None] * sin[None, :])
        a_sum += e * a[None, :]
        b_sum += e * b[None, :]
        if MOMENTS:
            ax_sum += e * (a * cos)[None, :]
            ay_sum += e * (a * sin)[None, :]
            bx_sum += e * (b * cos)[None, :]
            by_sum += e * (b * sin)[None, :]
    a_sum, b_sum = tl.sum(a_sum, 1), tl.sum(b_sum, 1)
    ax_sum, ay_sum = tl.sum(ax_sum, 1), tl.sum(ay_sum, 1)
    bx_sum, by_sum = tl.sum(bx_sum, 1), tl.sum(by_sum, 1)
    for n in range(N):
        at = (bag * N + n) * C + c
        f = tl.load(f_ptr + at, mask=inside, other=0.0)
        a, b = sources(f, shift, a_ptr, b_ptr, at, inside, WEIGHTED)
        cos, sin, _ = direction_of(f, planes_ptr, LINE)
        e = tl.exp2(x * cos + y * sin)
        a_sum += e * a
        b_sum += e * b
        if MOMENTS:
            ax_sum += e * (a * cos)
            ay_sum += e * (a * sin)
            bx_sum += e * (b * cos)
            by_sum += e * (b * sin)
    return a_sum, b_sum, ax_sum, ay_sum, bx_sum, by_sum


@triton.jit
def _own_tile(N, C, BLOCK: tl.constexpr):
    """The row of one program and its bag; its columns, which of them exist, and where they lie."""
    line = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    return line, line // N, c, c < C, line * C + c


@triton.jit
def sta_exact_kernel(
    y_ptr, f_ptr, planes_ptr, N, C, BLOCK: tl.constexpr, BLOCK_OTHER: tl.constexpr
):
    """Adds f and the mean over the cross, of one tile of elements of one row."""
    line, bag, c, inside, here = _own_tile(N, C, BLOCK)
    f = tl.load(f_ptr + here, mask=inside, other=0.0)
    cos, sin, _ = direction_of(f, planes_ptr, QUERY)
    x, y = toward_keys(cos, sin, planes_ptr)
    top, bottom, _, _, _, _ = sums_over_cross(
        x, y, f_ptr, 0.0, f_ptr, f_ptr, planes_ptr, line, bag, c, inside, N, C,
        KEY, BLOCK, BLOCK_OTHER, False, False,
    )  # fmt: skip
    own = own_of(f, planes_ptr)
    tl.store(y_ptr + here, (top - own * f) / (bottom - own) + f, mask=inside)


@triton.jit
def sta_exact_bwd_query_kernel(
    x_ptr, y_ptr, a_ptr, b_ptr, f_ptr, shift_ptr, planes_ptr, dy_ptr, N, C,
    BLOCK: tl.constexpr, BLOCK_OTHER: tl.constexpr,
):  # fmt: skip
    """As the mean, from f centred; (a, b) is the gradient of both sums of an element, (x, y) that of its z G."""
    line, bag, c, inside, here = _own_tile(N, C, BLOCK)
    shift = tl.load(shift_ptr + bag)
    f = tl.load(f_ptr + here, mask=inside, other=0.0)
    cos, sin, _ = direction_of(f, planes_ptr, QUERY)
    x, y = toward_keys(cos, sin, planes_ptr)
    top, bottom, top_x, top_y, bottom_x, bottom_y = sums_over_cross(
        x, y, f_ptr, shift, f_ptr, f_ptr, planes_ptr, line, bag, c, inside, N, C,
        KEY, BLOCK, BLOCK_OTHER, False, True,
    )  # fmt: skip
    own = own_of(f, planes_ptr)
    total = bottom - own
    a = tl.load(dy_ptr + here, mask=inside, other=0.0) / total
    b = -a * (top - own * (f - shift)) / total
    tl.store(a_ptr + here, a, mask=inside)
    tl.store(b_ptr + here, b, mask=inside)
    tl.store(x_ptr + here, a * top_x + b * bottom_x, mask=inside)
    tl.store(y_ptr + here, a * top_y + b * bottom_y, mask=inside)


@triton.jit
def sta_exact_bwd_key_kernel(
    df_ptr, parts_ptr, f_ptr, shift_ptr, planes_ptr, dy_ptr, x_ptr, y_ptr, a_ptr, b_ptr, N, C,
    BLOCK: tl.constexpr, BLOCK_OTHER: tl.constexpr,
):  # fmt: skip
    """The transpose of a sum over the cross is a sum over the cross: here queries are summed, and keys read."""
    line, bag, c, inside, here = _own_tile(N, C, BLOCK)
    f = tl.load(f_ptr + here, mask=inside, other=0.0)
    cos, sin, _ = direction_of(f, planes_ptr, KEY)
    x, y = toward_queries(cos, sin, planes_ptr)
    values, _, values_x, values_y, weights_x, weights_y = sums_over_cross(
        x, y, f_ptr, 0.0, a_ptr, b_ptr, planes_ptr, line, bag, c, inside, N, C,
        QUERY, BLOCK, BLOCK_OTHER, True, True,
    )  # fmt: skip
    value = f - tl.load(shift_ptr + bag)
    # The gradient of z_key G^T, then that of z_query G.
    x, y = toward_keys(values_x * value + weights_x, values_y * value + weights_y, planes_ptr)
    dphi = cos * y - sin * x
    x = tl.load(x_ptr + here, mask=inside, other=0.0)
    y = tl.load(y_ptr + here, mask=inside, other=0.0)
    cos, sin, _ = direction_of(f, planes_ptr, QUERY)
    to_x, to_y = toward_queries(x, y, planes_ptr)
    dtheta = cos * to_y - sin * to_x
    a = tl.load(a_ptr + here, mask=inside, other=0.0)
    b = tl.load(b_ptr + here, mask=inside, other=0.0)
    dy = tl.load(dy_ptr + here, mask=inside, other=0.0)
    df, parts = chained(f, value, a, b, values, dtheta, dphi, dy, inside, planes_ptr)
    tl.store(df_ptr + here, df, mask=inside)
    zero = tl.zeros((BLOCK,), tl.float32)
    dg = (zero, zero, zero, zero, zero, zero, cos * x, cos * y, sin * x, sin * y)
    parts = added(parts, dg)
    store_parts(parts_ptr, parts)


def forward(f: Tensor, planes: Tensor) -> Tensor:
    """Returns f plus its mean over each element's cross [B, N, C]; ``triton_impl.forward`` has the rest."""
    y, block = torch.empty_like(f), tuned.EXACT_OWN
    sta_exact_kernel[_grid(f, block)](
        y, f, planes, *f.shape[1:],
        BLOCK=block, BLOCK_OTHER=tuned.EXACT_OTHER, num_warps=tuned.EXACT_WARPS,
    )  # fmt: skip
    return y


def backward(f: Tensor, shift: Tensor, planes: Tensor, dy: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the gradients of f and planes; ``shift`` [B] centres f."""
    df, x, y, a, b = (torch.empty_like(f) for _ in range(5))
    block = tuned.EXACT_OWN_BACKWARD
    grid, sizes = _grid(f, block), f.shape[1:]
    options = {"BLOCK": block, "BLOCK_OTHER": tuned.EXACT_OTHER, "num_warps": tuned.EXACT_WARPS}
    sta_exact_bwd_query_kernel[grid](x, y, a, b, f, shift, planes, dy, *sizes, **options)
    parts = f.new_empty((*grid, 10), dtype=torch.float64)
    sta_exact_bwd_key_kernel[grid](
        df, parts, f, shift, planes, dy, x, y, a, b, *sizes, **options
    )  # fmt: skip
    return df, parts.sum(dim=(0, 1)).to(planes.dtype)


def _grid(f: Tensor, block: int) -> tuple[int, int]:
    return f.shape[0] * f.shape[1], triton.cdiv(f.shape[2], block)
