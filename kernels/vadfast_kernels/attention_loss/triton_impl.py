"""The attention-weighted losses in one pass and a small sum: a program writes its tile's part of both terms and the gradient of its own pixels.

The one decision to know: a pixel gathers its gradient, from the pair with the next pixel and the pair with the one before, along
rows and columns. So no program writes where another does, and there is no atomic; one program then sums the parts, in float64.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from vadfast_kernels._op import INTERPRETED
from vadfast_kernels.attention_loss.tuned import PARTS, SUM_WARPS, block_sizes


@triton.jit
def _load(at, inside):
    """In float32 at once, zero outside: the interpreter keeps bfloat16 as integers and would add those."""
    return tl.load(at, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def _sign(x):
    return tl.where(x > 0, 1.0, tl.where(x < 0, -1.0, 0.0))


@triton.jit
def _slope(dp, dg, a):
    """Derivative of a ||dp| - |dg|| to dp."""
    return a * _sign(tl.abs(dp) - tl.abs(dg)) * _sign(dp)


@triton.jit
def _pairs(p, g, a, p_at, g_at, a_at, p_step, g_step, a_step, before, after, counted):
    """Along one axis: the loss of each pixel's pair with the next one, and the gradient of the pixel's two pairs."""
    dp = _load(p_at + p_step, after) - p
    dg = _load(g_at + g_step, after) - g
    loss = tl.where(counted, a * tl.abs(tl.abs(dp) - tl.abs(dg)), 0.0)
    grad = -tl.where(counted, _slope(dp, dg, a), 0.0)
    a_before = _load(a_at - a_step, before)  # 0 where there is none, and the slope with it
    grad += _slope(p - _load(p_at - p_step, before), g - _load(g_at - g_step, before), a_before)
    return loss, grad


@triton.jit
def _attention_loss_fwd_kernel(
    grad_ptr, partial_ptr, p_ptr, g_ptr, a_ptr, C, H, W, content_weight, gradient_weight, scale,
    grad_b, grad_c, grad_h, grad_w, p_b, p_c, p_h, p_w, g_b, g_c, g_h, g_w, a_b, a_c, a_h, a_w,
    BLOCK_H: tl.constexpr, BLOCK_W: tl.constexpr, TF_EDGE: tl.constexpr,
    DIFFERENTIABLE: tl.constexpr,
):  # fmt: skip
    """One tile of one plane: ``scale`` times its part of either term, and the unscaled gradient of the loss."""
    program = tl.program_id(0)
    n_down, n_across = tl.cdiv(H, BLOCK_H), tl.cdiv(W, BLOCK_W)
    plane, tile = (program // (n_down * n_across)).to(tl.int64), program % (n_down * n_across)
    b, c = plane // C, plane % C
    y = ((tile // n_across) * BLOCK_H + tl.arange(0, BLOCK_H)).to(tl.int64)[:, None]
    x = ((tile % n_across) * BLOCK_W + tl.arange(0, BLOCK_W)).to(tl.int64)[None, :]
    inside = (y < H) & (x < W)
    p_at = p_ptr + b * p_b + c * p_c + y * p_h + x * p_w
    g_at = g_ptr + b * g_b + c * g_c + y * g_h + x * g_w
    a_at = a_ptr + b * a_b + c * a_c + y * a_h + x * a_w
    p, g, a = _load(p_at, inside), _load(g_at, inside), _load(a_at, inside)

    right, down = inside & (x + 1 < W), inside & (y + 1 < H)
    # Beyond the border pixels load as 0, which is what "tf" compares with.
    counted_x, counted_y = (inside, inside) if TF_EDGE else (right, down)
    loss_x, grad_x = _pairs(
        p, g, a, p_at, g_at, a_at, p_w, g_w, a_w, inside & (x > 0), right, counted_x
    )
    loss_y, grad_y = _pairs(
        p, g, a, p_at, g_at, a_at, p_h, g_h, a_h, inside & (y > 0), down, counted_y
    )

    error = a * (p - g)
    tl.store(partial_ptr + program, tl.sum(error * error) * scale)
    tl.store(partial_ptr + tl.num_programs(0) + program, tl.sum(loss_x + loss_y) * scale)
    if DIFFERENTIABLE:
        grad = 2.0 * content_weight * a * error + gradient_weight * (grad_x + grad_y)
        grad_at = grad_ptr + b * grad_b + c * grad_c + y * grad_h + x * grad_w
        tl.store(grad_at, grad.to(grad_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _attention_loss_sum_kernel(
    loss_ptr, content_ptr, gradient_ptr, partial_ptr, N, content_weight, gradient_weight,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Both terms and the loss, from the N parts of either term."""
    content = tl.zeros((BLOCK,), tl.float64)
    gradient = tl.zeros((BLOCK,), tl.float64)
    for first in range(0, N, BLOCK):
        n = first + tl.arange(0, BLOCK)
        content += tl.load(partial_ptr + n, mask=n < N, other=0.0).to(tl.float64)
        gradient += tl.load(partial_ptr + N + n, mask=n < N, other=0.0).to(tl.float64)
    c, g = tl.sum(content, 0), tl.sum(gradient, 0)
    tl.store(content_ptr, c.to(tl.float32))
    tl.store(gradient_ptr, g.to(tl.float32))
    tl.store(loss_ptr, (content_weight * c + gradient_weight * g).to(tl.float32))


def forward(
    p: Tensor, g: Tensor, a: Tensor, content_weight: float, gradient_weight: float, edge: str,
    differentiable: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Returns the loss, its two terms and, like p where ``differentiable``, N times its gradient; p, g and a are [B, C, H, W]."""
    b, c, h, w = p.shape
    blocks = block_sizes(h, w)
    n_programs = b * c * triton.cdiv(h, blocks.height) * triton.cdiv(w, blocks.width)
    # The interpreter cuts bfloat16 where a GPU rounds.
    grad_dtype = torch.float32 if INTERPRETED else p.dtype
    unscaled = torch.empty_like(p if differentiable else p[:0], dtype=grad_dtype)
    partial = torch.empty(2, n_programs, dtype=torch.float32, device=p.device)
    loss, content, gradient = (
        torch.empty((), dtype=torch.float32, device=p.device) for _ in range(3)
    )
    with torch.cuda.device_of(p):  # which need not be the current one
        _attention_loss_fwd_kernel[(n_programs,)](
            unscaled, partial, p, g, a, c, h, w, content_weight, gradient_weight, 1 / p.numel(),
            *unscaled.stride(), *p.stride(), *g.stride(), *a.stride(),
            BLOCK_H=blocks.height, BLOCK_W=blocks.width, TF_EDGE=edge == "tf",
            DIFFERENTIABLE=differentiable, num_warps=blocks.n_warps,
        )  # fmt: skip
        _attention_loss_sum_kernel[(1,)](
            loss, content, gradient, partial, n_programs, content_weight, gradient_weight,
            BLOCK=PARTS, num_warps=SUM_WARPS,
        )  # fmt: skip
    unscaled = unscaled.to(p.dtype) if differentiable else p.new_empty(0)
    return loss, content, gradient, unscaled
