"""What is made of the weights, ``circle.prepared`` in one launch: PyTorch takes some sixty for a handful of numbers.

Every program makes the planes anew and one row of K, in float64 until the store.
"""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from vadfast_kernels.sta_attention import circle

_PARALLEL = tl.constexpr(circle.PARALLEL)
# Of each angle: with 12 harmonics, aliases are beyond the 20th and below 1e-24.
_SAMPLES = tl.constexpr(32)
_STEP = tl.constexpr(2 * math.pi / 32)
_N_WARPS = 8  # four exponentials a thread: with eight, sm_90 spilled 32 bytes


def prepare(
    wq: Tensor, bq: Tensor, wk: Tensor, bk: Tensor, n_harmonics: int
) -> tuple[Tensor, Tensor]:
    """Returns the planes [10] and K [2n + 1, 2n + 1], [0, 0] without harmonics, in the dtype of the weights."""
    wq, bq, wk, bk = (x.contiguous() for x in (wq, bq, wk, bk))
    side = 2 * n_harmonics + 1 if n_harmonics else 0
    planes, kernel = wq.new_empty(10), wq.new_empty((side, side))
    with torch.cuda.device_of(wq):
        sta_prepare_kernel[(max(1, side),)](
            planes, kernel, wq, bq, wk, bk, len(wq),
            F=side, BLOCK_D=triton.next_power_of_2(len(wq)),
            BLOCK_F=triton.next_power_of_2(max(1, side)), num_warps=_N_WARPS,
        )  # fmt: skip
    return planes, kernel


@triton.jit
def sta_prepare_kernel(
    planes_ptr, kernel_ptr, wq_ptr, bq_ptr, wk_ptr, bk_ptr, D,
    F: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_F: tl.constexpr,
):  # fmt: skip
    """The planes, by the first program; and a program's row of K, sum_st project_is exp(z_s G z_t) project_jt."""
    row = tl.program_id(0)
    qx, qy, slope_q, along_q, height_q = _plane(wq_ptr, bq_ptr, D, BLOCK_D)
    kx, ky, slope_k, along_k, height_k = _plane(wk_ptr, bk_ptr, D, BLOCK_D)
    g_xx, g_xy = tl.sum(qx * kx, 0), tl.sum(qx * ky, 0)
    g_yx, g_yy = tl.sum(qy * kx, 0), tl.sum(qy * ky, 0)
    if row == 0:
        numbers = (
            slope_q, along_q, height_q, slope_k, along_k, height_k, g_xx, g_xy, g_yx, g_yy,
        )  # fmt: skip
        for i in tl.static_range(10):
            tl.store(planes_ptr + i, numbers[i])
    if F > 0:
        s = tl.arange(0, _SAMPLES)
        x, y = _cosine(s), _cosine(s - _SAMPLES // 4)
        toward_x, toward_y = x * g_xx + y * g_yx, x * g_xy + y * g_yy
        values = tl.exp(toward_x[:, None] * x[None, :] + toward_y[:, None] * y[None, :])
        along = tl.sum(_project(row, s)[:, None] * values, 0)  # [T]
        j = tl.arange(0, BLOCK_F)
        out = tl.sum(_project(j[:, None], s[None, :]) * along[None, :], 1)
        tl.store(kernel_ptr + row * F + j, out, mask=j < F)


@triton.jit
def _plane(w_ptr, b_ptr, D, BLOCK_D: tl.constexpr):
    """Two axes [D], and of w and b in them |w|, b along w and b across it; an axis is 0 where nothing points along it."""
    d = tl.arange(0, BLOCK_D)
    w = tl.load(w_ptr + d, mask=d < D, other=0.0).to(tl.float64)
    b = tl.load(b_ptr + d, mask=d < D, other=0.0).to(tl.float64)
    first, length = _unit(w)
    along = tl.sum(first * b, 0)
    rest = b - along * first
    parallel = tl.sum(rest * rest, 0) <= _PARALLEL * _PARALLEL * tl.sum(b * b, 0)
    second, height = _unit(tl.where(parallel, 0.0, rest))
    return first, second, length, along, height


@triton.jit
def _unit(x):
    """Returns x / |x|, 0 where x is, and |x|: by one inverse root, because float64 divides and takes roots by a call."""
    square = tl.sum(x * x, 0)
    inverse = tl.where(square == 0, 0.0, tl.rsqrt(tl.where(square == 0, 1.0, square)))
    return x * inverse, square * inverse


@triton.jit
def _project(i, s):
    """Of function i of psi: its share in sample s."""
    order = (i + 1) // 2
    is_sine = (i > 0) & (i % 2 == 0)
    wave = _cosine(order * s - tl.where(is_sine, _SAMPLES // 4, 0))
    return wave * tl.where(i == 0, 1.0 / _SAMPLES, 2.0 / _SAMPLES)


@triton.jit
def _cosine(s):
    """Of s samples' angle, by Taylor: within half a turn of 0 its terms end below 1e-17, and no libdevice looks at its size."""
    near = ((s + _SAMPLES // 2) & (_SAMPLES - 1)) - _SAMPLES // 2
    t = near.to(tl.float64) * _STEP
    z, c = t * t, tl.full(s.shape, 1.0, tl.float64)
    for m in tl.static_range(15, 0, -1):
        c = 1.0 - z * c * (1.0 / (2 * m * (2 * m - 1)))
    return c
