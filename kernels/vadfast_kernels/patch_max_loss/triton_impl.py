"""The loss of the worst patch in three kernels: sums of squared errors, the worst of each sample, and a gradient that reads those alone.

The one decision to know: a program has a strip of a patch, rows of one plane, in both directions. So sums are written and never
added by atomics, and backward a program that is not in a worst patch writes zeros and reads nothing.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from vadfast_kernels._op import INTERPRETED
from vadfast_kernels.patch_max_loss.layout import as_planes
from vadfast_kernels.patch_max_loss.tuned import WORST_WARPS, Blocks, block_sizes, worst_tile


@triton.jit
def _strip(PLANES, PATCH_H, PATCH_W, STRIPS, ROWS, COLUMNS, BLOCK_H: tl.constexpr):
    """Which sample, plane, patch and rows a program has: (b, plane, patch, first value of a line, rows, rows that are there)."""
    program = tl.program_id(0).to(tl.int64)
    strip, of_patch = program % STRIPS, program // STRIPS
    patch, of_plane = of_patch % (ROWS * COLUMNS), of_patch // (ROWS * COLUMNS)
    row = strip * BLOCK_H + tl.arange(0, BLOCK_H)
    y = (patch // COLUMNS) * PATCH_H + row
    return (
        of_plane // PLANES,
        of_plane % PLANES,
        patch,
        (patch % COLUMNS) * PATCH_W,
        y,
        row < PATCH_H,
    )


@triton.jit
def _difference(p_at, g_at, inside):
    """In float32 at once, zero outside: the interpreter keeps bfloat16 as integers and would subtract those."""
    p = tl.load(p_at, mask=inside, other=0.0).to(tl.float32)
    return p - tl.load(g_at, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def _patch_max_fwd_kernel(
    sum_ptr, p_ptr, g_ptr, PLANES, PATCH_H, PATCH_W, STRIPS, ROWS, COLUMNS,
    p_b, p_o, p_h, p_w, g_b, g_o, g_h, g_w, BLOCK_H: tl.constexpr, BLOCK_W: tl.constexpr,
):  # fmt: skip
    """The sum of squared errors of one strip."""
    b, plane, _, left, y, there = _strip(PLANES, PATCH_H, PATCH_W, STRIPS, ROWS, COLUMNS, BLOCK_H)
    p_at = p_ptr + b * p_b + plane * p_o + y[:, None] * p_h
    g_at = g_ptr + b * g_b + plane * g_o + y[:, None] * g_h
    total = tl.zeros((BLOCK_H, BLOCK_W), tl.float32)
    for first in range(0, PATCH_W, BLOCK_W):
        column = first + tl.arange(0, BLOCK_W)
        x = (left + column)[None, :]
        inside = there[:, None] & (column < PATCH_W)[None, :]
        error = _difference(p_at + x * p_w, g_at + x * g_w, inside)
        total += error * error
    tl.store(sum_ptr + tl.program_id(0), tl.sum(total))


@triton.jit
def _patch_max_worst_kernel(
    error_ptr, worst_ptr, sum_ptr, PLANES, STRIPS, PATCHES, scale,
    BLOCK_P: tl.constexpr, BLOCK_S: tl.constexpr,
):  # fmt: skip
    """The worst patch of one sample, from the sums of all strips: the first of equals, or the first with a NaN."""
    b = tl.program_id(0).to(tl.int64)
    top = tl.full((), -1.0, tl.float64)  # below any square
    worst = tl.full((), 0, tl.int32)
    for first in range(0, PATCHES, BLOCK_P):
        patch = first + tl.arange(0, BLOCK_P)
        total = tl.zeros((BLOCK_P, BLOCK_S), tl.float64)
        for first_strip in range(0, PLANES * STRIPS, BLOCK_S):
            strip = first_strip + tl.arange(0, BLOCK_S)
            plane = (b * PLANES + strip // STRIPS)[None, :]
            at = (plane * PATCHES + patch[:, None]) * STRIPS + (strip % STRIPS)[None, :]
            inside = (patch < PATCHES)[:, None] & (strip < PLANES * STRIPS)[None, :]
            total += tl.load(sum_ptr + at, mask=inside, other=0.0).to(tl.float64)
        error = tl.sum(total, 1)
        # A NaN is larger than anything, which comparisons do not say.
        nan = (error != error).to(tl.int32)
        has_nan, had_nan = tl.max(nan, 0) > 0, top != top
        highest = tl.max(tl.where((patch < PATCHES) & (nan == 0), error, -1.0), 0)
        highest = tl.where(has_nan, float("nan"), highest)
        is_it = tl.where(has_nan, nan > 0, error == highest) & (patch < PATCHES)
        better = (has_nan | (highest > top)) & (had_nan == 0)
        worst = tl.where(better, tl.min(tl.where(is_it, patch, PATCHES), 0), worst)
        top = tl.where(better, highest, top)
    tl.store(error_ptr + b, (top * scale).to(tl.float32))
    tl.store(worst_ptr + b, worst.to(tl.int64))


@triton.jit
def _patch_max_bwd_kernel(
    grad_ptr, p_ptr, g_ptr, worst_ptr, dloss_ptr, PLANES, PATCH_H, PATCH_W, STRIPS, ROWS, COLUMNS, scale,
    grad_b, grad_o, grad_h, grad_w, p_b, p_o, p_h, p_w, g_b, g_o, g_h, g_w,
    BLOCK_H: tl.constexpr, BLOCK_W: tl.constexpr,
):  # fmt: skip
    """The gradient of one strip: zero but in the worst patch."""
    b, plane, patch, left, y, there = _strip(
        PLANES, PATCH_H, PATCH_W, STRIPS, ROWS, COLUMNS, BLOCK_H
    )
    is_worst = tl.load(worst_ptr + b) == patch
    slope = tl.load(dloss_ptr).to(tl.float32) * scale
    p_at = p_ptr + b * p_b + plane * p_o + y[:, None] * p_h
    g_at = g_ptr + b * g_b + plane * g_o + y[:, None] * g_h
    grad_at = grad_ptr + b * grad_b + plane * grad_o + y[:, None] * grad_h
    for first in range(0, PATCH_W, BLOCK_W):
        column = first + tl.arange(0, BLOCK_W)
        x = (left + column)[None, :]
        inside = there[:, None] & (column < PATCH_W)[None, :]
        # Masked loads are not made: elsewhere this costs a write.
        difference = _difference(p_at + x * p_w, g_at + x * g_w, inside & is_worst)
        grad = tl.where(
            is_worst, slope * difference, 0.0
        )  # a slope of infinity would make NaN of zeros
        tl.store(grad_at + x * grad_w, grad.to(grad_ptr.dtype.element_ty), mask=inside)


def forward(p: Tensor, g: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """Returns the loss and the worst patch of each sample [B]; p and g are [B, C, H, W]."""
    n = p[0].numel() // (rows * columns)
    p, g = as_planes(p, g)
    sizes, blocks, n_programs = _launch(p, rows, columns)
    block_p, block_s = worst_tile(rows * columns)
    sums, errors = (
        torch.empty(k, dtype=torch.float32, device=p.device) for k in (n_programs, len(p))
    )
    worst = torch.empty(len(p), dtype=torch.int64, device=p.device)
    with torch.cuda.device_of(p):  # which need not be the current one
        _patch_max_fwd_kernel[(n_programs,)](
            sums, p, g, *sizes, *p.stride(), *g.stride(),
            BLOCK_H=blocks.height, BLOCK_W=blocks.line, num_warps=blocks.n_warps,
        )  # fmt: skip
        _patch_max_worst_kernel[(len(p),)](
            errors, worst, sums, p.shape[1], sizes[3], rows * columns, 1 / n,
            BLOCK_P=block_p, BLOCK_S=block_s, num_warps=WORST_WARPS,
        )  # fmt: skip
    return errors.mean(), worst


def backward(p: Tensor, g: Tensor, worst: Tensor, dloss: Tensor, rows: int, columns: int) -> Tensor:
    """Returns dp like p."""
    # The interpreter cuts bfloat16 where a GPU rounds.
    grad = torch.empty_like(p, dtype=torch.float32 if INTERPRETED else p.dtype)
    scale = 2 * rows * columns / p.numel()
    planes, target, out = as_planes(p, g, grad)
    sizes, blocks, n_programs = _launch(planes, rows, columns)
    with torch.cuda.device_of(p):
        _patch_max_bwd_kernel[(n_programs,)](
            out, planes, target, worst, dloss, *sizes, scale,
            *out.stride(), *planes.stride(), *target.stride(),
            BLOCK_H=blocks.height, BLOCK_W=blocks.line, num_warps=blocks.n_warps,
        )  # fmt: skip
    return grad.to(p.dtype)


def _launch(p: Tensor, rows: int, columns: int) -> tuple[tuple[int, ...], Blocks, int]:
    """Returns the sizes that both kernels take, their tiles, and how many programs there are."""
    b, planes, height, line = p.shape
    patch_h, patch_w = height // rows, line // columns
    blocks = block_sizes(patch_h, patch_w)
    strips = triton.cdiv(patch_h, blocks.height)
    sizes = (planes, patch_h, patch_w, strips, rows, columns)
    return sizes, blocks, b * planes * rows * columns * strips
