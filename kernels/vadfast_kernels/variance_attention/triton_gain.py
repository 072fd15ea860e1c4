"""The gain of every cell and its gradient (``gain.py``) in one kernel either way: a program has all cells of an image.

Both directions read the variances twice, for their softmax and for what is written: P numbers, from the cache the second time.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from vadfast_kernels._constants import LOG2E
from vadfast_kernels.variance_attention.tuned import GAIN_WARPS, line_of


@triton.jit
def _softmax_of(v_ptr, P, FACTOR: tl.constexpr, BLOCK: tl.constexpr):
    """The largest of FACTOR v over an image, times log2 e, and the sum of exponentials relative to it.

    v is never negative, so a largest of 0 to begin with does no harm. The two are not added into a log-sum-exp: rounded at the size
    of v, that would make the softmax sum to 1 less well than the gradient needs.
    """
    top = tl.zeros((BLOCK,), tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    for first in range(0, P, BLOCK):
        p = first + tl.arange(0, BLOCK)
        v = tl.load(v_ptr + p, mask=p < P, other=float("-inf")) * (FACTOR * LOG2E)
        # The larger one drops a NaN; the sum keeps it.
        new = tl.maximum(top, v)
        total = total * tl.exp2(top - new) + tl.exp2(v - new)
        top = new
    highest = tl.max(top, 0)
    return highest, tl.sum(total * tl.exp2(top - highest), 0)


@triton.jit
def _gain(v, top, total, CODE: tl.constexpr, FACTOR: tl.constexpr):
    """The gain of variances, and the softmax of FACTOR v."""
    below = v * (FACTOR * LOG2E) - top
    a = tl.exp2(below) / total
    if CODE:
        return tl.exp2(a * LOG2E), a
    return tl.exp2(below / 2) / tl.sqrt(total), a


@triton.jit
def _dlog(dgain_ptr, gain, p, P, N_PARTS, part_stride, BLOCK: tl.constexpr):
    """The gradient of log gain; that of the gain is there in parts, added in order."""
    dgain = tl.zeros((BLOCK,), tl.float32)
    for part in range(N_PARTS):
        dgain += tl.load(dgain_ptr + part * part_stride + p, mask=p < P, other=0.0)
    return dgain * gain


@triton.jit
def _variance_gain_kernel(
    gain_ptr, v_ptr, P, CODE: tl.constexpr, FACTOR: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """The gain of each cell of one image."""
    first_cell = tl.program_id(0).to(tl.int64) * P
    top, total = _softmax_of(v_ptr + first_cell, P, FACTOR, BLOCK)
    for first in range(0, P, BLOCK):
        p = first + tl.arange(0, BLOCK)
        v = tl.load(v_ptr + first_cell + p, mask=p < P, other=0.0)
        gain, _ = _gain(v, top, total, CODE, FACTOR)
        tl.store(gain_ptr + first_cell + p, gain, mask=p < P)


@triton.jit
def _variance_gain_bwd_kernel(
    dv_ptr, gain_ptr, v_ptr, dgain_ptr, P, N_PARTS, part_stride,
    CODE: tl.constexpr, FACTOR: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The gain of each cell of one image once more, and dv."""
    first_cell = tl.program_id(0).to(tl.int64) * P
    v_ptr += first_cell
    dgain_ptr += first_cell
    top, total = _softmax_of(v_ptr, P, FACTOR, BLOCK)
    along = tl.zeros((BLOCK,), tl.float32)
    for first in range(0, P, BLOCK):
        p = first + tl.arange(0, BLOCK)
        gain, a = _gain(tl.load(v_ptr + p, mask=p < P, other=0.0), top, total, CODE, FACTOR)
        dlog = _dlog(dgain_ptr, gain, p, P, N_PARTS, part_stride, BLOCK)
        along += tl.where(p < P, a * dlog if CODE else dlog, 0.0)
    mean = tl.sum(along, 0)
    for first in range(0, P, BLOCK):
        p = first + tl.arange(0, BLOCK)
        gain, a = _gain(tl.load(v_ptr + p, mask=p < P, other=0.0), top, total, CODE, FACTOR)
        dlog = _dlog(dgain_ptr, gain, p, P, N_PARTS, part_stride, BLOCK)
        dv = a * (dlog - mean) if CODE else dlog - a * mean
        tl.store(gain_ptr + first_cell + p, gain, mask=p < P)
        tl.store(dv_ptr + first_cell + p, dv, mask=p < P)


def gain_of(v: Tensor, variant: str) -> Tensor:
    """Returns the gain of each cell, like v [B, P] float32."""
    b, p = v.shape
    gain = torch.empty_like(v)
    _variance_gain_kernel[(b,)](
        gain, v, p, CODE=variant == "code", FACTOR=_factor(variant), BLOCK=line_of(p),
        num_warps=GAIN_WARPS,
    )  # fmt: skip
    return gain


def gain_backward(v: Tensor, dgain: Tensor, variant: str) -> tuple[Tensor, Tensor]:
    """Returns the gain and dv, both like v [B, P], from the gradient of the gain in parts [parts, B, P]."""
    b, p = v.shape
    gain, dv = torch.empty_like(v), torch.empty_like(v)
    _variance_gain_bwd_kernel[(b,)](
        dv, gain, v, dgain, p, len(dgain), b * p, CODE=variant == "code", FACTOR=_factor(variant),
        BLOCK=line_of(p), num_warps=GAIN_WARPS,
    )  # fmt: skip
    return gain, dv


def _factor(variant: str) -> float:
    """What of v the log-sum-exp is taken of."""
    return 1.0 if variant == "code" else 2.0
