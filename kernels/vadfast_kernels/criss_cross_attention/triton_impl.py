"""Criss-cross attention as flash attention over lines: rows first, then columns, which continue the softmax of the rows.

The one decision to know: a line (a row or a column) is owned by programs that never write outside it, and the column pass starts
from what the row pass left. So there is no map of H + W entries, no kernel that merges, and no atomic. Strides decide the
direction; tensors are channels last.

    forward     row:    acc, state      from nothing
                column: y, state        from those of the row; own position masked: the row has it
    backward    p = exp(s - m) / total,  ds = p (dy . v - delta),  delta = sum_c dy y
                dq = ds k,  dk = ds^T q,  dv = p^T dy, each as row plus column

state [B, H, W, 2] holds m, the largest score, and total, the sum of exp(s - m). Their log-sum-exp would be one number instead of
two, and less exact: rounded at the size of the scores, it puts the same error on every weight of a position. For the same reason
m is subtracted before the factor of exp2.
"""

from collections.abc import Iterator

import torch
import triton
import triton.language as tl
from torch import Tensor

from vadfast_kernels import _triton
from vadfast_kernels._constants import LOG2E
from vadfast_kernels.criss_cross_attention.layout import channels_first, channels_last
from vadfast_kernels.criss_cross_attention.tuned import Blocks, Kernel, block_sizes, delta_blocks


@triton.jit
def _load(ptr, line, stride, channels, L, C, UPCAST: tl.constexpr):
    """A tile [positions of the line, channels], zero outside; a line reaches over less than 2^31 elements."""
    inside = (line[:, None] < L) & (channels[None, :] < C)
    x = tl.load(ptr + line[:, None] * stride + channels[None, :], mask=inside, other=0.0)
    if UPCAST:
        x = x.to(tl.float32)
    return x


@triton.jit
def _criss_cross_fwd_kernel(
    y_ptr, state_ptr, q_ptr, k_ptr, v_ptr, acc_ptr, acc_state_ptr, L, N_LINES, D, C,
    y_b, y_line, y_at, state_b, state_line, state_at,
    q_b, q_line, q_at, k_b, k_line, k_at, v_b, v_line, v_at, acc_b, acc_line, acc_at,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_C: tl.constexpr,
    COLUMN: tl.constexpr, UPCAST: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """One tile of queries of one line, one chunk of value channels."""
    tile, line, chunk = tl.program_id(0), tl.program_id(1).to(tl.int64), tl.program_id(2)
    b, o = line // N_LINES, line % N_LINES
    at = tile * BLOCK_Q + tl.arange(0, BLOCK_Q)
    d, c = tl.arange(0, BLOCK_D), chunk * BLOCK_C + tl.arange(0, BLOCK_C)
    q = _load(q_ptr + b * q_b + o * q_line, at, q_at, d, L, D, UPCAST)
    at_query = b * state_b + o * state_line + at * state_at
    if COLUMN:
        m = tl.load(acc_state_ptr + at_query, mask=at < L, other=0.0)
        total = tl.load(acc_state_ptr + at_query + 1, mask=at < L, other=1.0)
        acc = _load(acc_ptr + b * acc_b + o * acc_line, at, acc_at, c, L, C, UPCAST).to(tl.float32)
    else:
        m = tl.full((BLOCK_Q,), float("-inf"), tl.float32)
        total = tl.zeros((BLOCK_Q,), tl.float32)
        acc = tl.zeros((BLOCK_Q, BLOCK_C), tl.float32)
    for first in range(0, L, BLOCK_K):
        to = first + tl.arange(0, BLOCK_K)
        k = _load(k_ptr + b * k_b + o * k_line, to, k_at, d, L, D, UPCAST)
        v = _load(v_ptr + b * v_b + o * v_line, to, v_at, c, L, C, UPCAST)
        s = tl.dot(q, tl.trans(k), input_precision=PRECISION)
        live = (to < L)[None, :]
        if COLUMN:
            live = live & (at[:, None] != to[None, :])
        s = tl.where(live, s, float("-inf"))
        # Finite from the first tile on: a row's first tile has a key, and a column starts from its row.
        m_new = tl.maximum(m, tl.max(s, 1))
        p, keep = tl.exp2((s - m_new[:, None]) * LOG2E), tl.exp2((m - m_new) * LOG2E)
        total = total * keep + tl.sum(p, 1)
        acc = tl.dot(p.to(v.dtype), v, acc * keep[:, None], input_precision=PRECISION)
        m = m_new
    inside = (at[:, None] < L) & (c[None, :] < C)
    y_tile = y_ptr + b * y_b + o * y_line + at[:, None] * y_at + c[None, :]
    if COLUMN:
        acc = acc / total[:, None]
    tl.store(y_tile, acc.to(y_ptr.dtype.element_ty), mask=inside)
    if chunk == 0:
        tl.store(state_ptr + at_query, m, mask=at < L)
        tl.store(state_ptr + at_query + 1, total, mask=at < L)


@triton.jit
def _criss_cross_delta_kernel(
    delta_ptr, y_ptr, dy_ptr, L, N_LINES, C,
    delta_b, delta_line, delta_at, y_b, y_line, y_at, dy_b, dy_line, dy_at,
    BLOCK: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """The products dy . y of one tile of positions of one row."""
    tile, line = tl.program_id(0), tl.program_id(1).to(tl.int64)
    b, o = line // N_LINES, line % N_LINES
    at = tile * BLOCK + tl.arange(0, BLOCK)
    delta = tl.zeros((BLOCK,), tl.float32)
    for first in range(0, C, BLOCK_C):
        c = first + tl.arange(0, BLOCK_C)
        y = _load(y_ptr + b * y_b + o * y_line, at, y_at, c, L, C, UPCAST=True)
        dy = _load(dy_ptr + b * dy_b + o * dy_line, at, dy_at, c, L, C, UPCAST=True)
        delta += tl.sum(y * dy, 1)
    tl.store(delta_ptr + b * delta_b + o * delta_line + at * delta_at, delta, mask=at < L)


@triton.jit
def _criss_cross_bwd_qk_kernel(
    grad_ptr, own_ptr, other_ptr, own_wide_ptr, other_wide_ptr, state_ptr, delta_ptr, row_ptr,
    L, N_LINES, D, C,
    grad_b, grad_line, grad_at, own_b, own_line, own_at, other_b, other_line, other_at,
    own_wide_b, own_wide_line, own_wide_at, other_wide_b, other_wide_line, other_wide_at,
    position_b, position_line, position_at,
    BLOCK: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_C: tl.constexpr,
    OWN_IS_QUERY: tl.constexpr, COLUMN: tl.constexpr, UPCAST: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """One tile of dq (own = q, dy; other = k, v) or of dk (own = k, v; other = q, dy): the same sum seen from either side."""
    tile, line = tl.program_id(0), tl.program_id(1).to(tl.int64)
    b, o = line // N_LINES, line % N_LINES
    own_wide_ptr += b * own_wide_b + o * own_wide_line
    other_wide_ptr += b * other_wide_b + o * other_wide_line
    at, d = tile * BLOCK + tl.arange(0, BLOCK), tl.arange(0, BLOCK_D)
    own = _load(own_ptr + b * own_b + o * own_line, at, own_at, d, L, D, UPCAST)
    first_position = b * position_b + o * position_line
    state_ptr += 2 * first_position
    delta_ptr += first_position
    grad = tl.zeros((BLOCK, BLOCK_D), tl.float32)
    for first in range(0, L, BLOCK):
        to = first + tl.arange(0, BLOCK)
        other = _load(other_ptr + b * other_b + o * other_line, to, other_at, d, L, D, UPCAST)
        s = tl.dot(own, tl.trans(other), input_precision=PRECISION)
        dp = tl.zeros((BLOCK, BLOCK), tl.float32)
        for first_c in range(0, C, BLOCK_C):
            c = first_c + tl.arange(0, BLOCK_C)
            own_wide = _load(own_wide_ptr, at, own_wide_at, c, L, C, UPCAST)
            other_wide = _load(other_wide_ptr, to, other_wide_at, c, L, C, UPCAST)
            dp = tl.dot(own_wide, tl.trans(other_wide), dp, input_precision=PRECISION)
        query = at if OWN_IS_QUERY else to
        position = query * position_at
        m = tl.load(state_ptr + 2 * position, mask=query < L, other=0.0)
        total = tl.load(state_ptr + 2 * position + 1, mask=query < L, other=1.0)
        delta = tl.load(delta_ptr + position, mask=query < L, other=0.0)
        if OWN_IS_QUERY:
            m, total, delta = m[:, None], total[:, None], delta[:, None]
        else:
            m, total, delta = m[None, :], total[None, :], delta[None, :]
        live = (at < L)[:, None] & (to < L)[None, :]
        if COLUMN:
            live = live & (at[:, None] != to[None, :])
        p = tl.where(live, tl.exp2((s - m) * LOG2E) / total, 0.0)
        ds = p * (dp - delta)
        grad = tl.dot(ds.to(other.dtype), other, grad, input_precision=PRECISION)
    grad_tile = b * grad_b + o * grad_line + at[:, None] * grad_at + d[None, :]
    inside = (at[:, None] < L) & (d[None, :] < D)
    if COLUMN:
        grad += tl.load(row_ptr + grad_tile, mask=inside, other=0.0)
    tl.store(grad_ptr + grad_tile, grad.to(grad_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _criss_cross_bwd_v_kernel(
    dv_ptr, q_ptr, k_ptr, dy_ptr, state_ptr, row_ptr, L, N_LINES, D, C,
    dv_b, dv_line, dv_at, q_b, q_line, q_at, k_b, k_line, k_at, dy_b, dy_line, dy_at,
    state_b, state_line, state_at,
    BLOCK: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_C: tl.constexpr,
    COLUMN: tl.constexpr, UPCAST: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """The gradient of v of one tile of keys, one chunk of value channels."""
    tile, line, chunk = tl.program_id(0), tl.program_id(1).to(tl.int64), tl.program_id(2)
    b, o = line // N_LINES, line % N_LINES
    at, d = tile * BLOCK + tl.arange(0, BLOCK), tl.arange(0, BLOCK_D)
    c = chunk * BLOCK_C + tl.arange(0, BLOCK_C)
    k = _load(k_ptr + b * k_b + o * k_line, at, k_at, d, L, D, UPCAST)
    dv = tl.zeros((BLOCK, BLOCK_C), tl.float32)
    for first in range(0, L, BLOCK):
        to = first + tl.arange(0, BLOCK)
        q = _load(q_ptr + b * q_b + o * q_line, to, q_at, d, L, D, UPCAST)
        dy = _load(dy_ptr + b * dy_b + o * dy_line, to, dy_at, c, L, C, UPCAST)
        at_query = b * state_b + o * state_line + to * state_at
        m = tl.load(state_ptr + at_query, mask=to < L, other=0.0)
        total = tl.load(state_ptr + at_query + 1, mask=to < L, other=1.0)
        s = tl.dot(k, tl.trans(q), input_precision=PRECISION)  # keys down, queries across
        live = (at < L)[:, None] & (to < L)[None, :]
        if COLUMN:
            live = live & (at[:, None] != to[None, :])
        p = tl.where(live, tl.exp2((s - m[None, :]) * LOG2E) / total[None, :], 0.0)
        dv = tl.dot(p.to(dy.dtype), dy, dv, input_precision=PRECISION)
    dv_tile = b * dv_b + o * dv_line + at[:, None] * dv_at + c[None, :]
    inside = (at[:, None] < L) & (c[None, :] < C)
    if COLUMN:
        dv += tl.load(row_ptr + dv_tile, mask=inside, other=0.0)
    tl.store(dv_ptr + dv_tile, dv.to(dv_ptr.dtype.element_ty), mask=inside)


def forward(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Returns y [B, C, H, W] (channels last in memory) and the softmax's state [B, H, W, 2]."""
    q, k, v = (channels_last(x) for x in (q, k, v))
    b, h, w, d = q.shape
    c = v.shape[-1]
    # In float32 for the gradient's sake: a rounded row part would be rounded again with the column's.
    acc = torch.empty((b, h, w, c), dtype=torch.float32, device=v.device)
    y = torch.empty((b, h, w, c), dtype=v.dtype, device=v.device)
    acc_state, state = (acc.new_empty((b, h, w, 2)) for _ in range(2))
    with torch.cuda.device_of(q):
        for column, length, n_lines, blocks in _passes("fwd", q, c):
            out, out_state = (y, state) if column else (acc, acc_state)
            grid = (triton.cdiv(length, blocks.query), b * n_lines, triton.cdiv(c, blocks.c))
            _criss_cross_fwd_kernel[grid](
                out, out_state, q, k, v, acc, acc_state, length, n_lines, d, c,
                *_strides(column, out, out_state, q, k, v, acc),
                BLOCK_Q=blocks.query, BLOCK_K=blocks.key, BLOCK_D=blocks.d, BLOCK_C=blocks.c,
                COLUMN=column, **blocks.launch(),
                **_triton.dot_options(q.dtype),
            )  # fmt: skip
    return channels_first(y), state


def backward(
    q: Tensor, k: Tensor, v: Tensor, y: Tensor, state: Tensor, dy: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns dq, dk [B, D, H, W] and dv [B, C, H, W], channels last in memory."""
    q, k, v, y, dy = (channels_last(x) for x in (q, k, v, y, dy))
    with torch.cuda.device_of(q):
        delta = _delta(y, dy)
        dq = _grad_qk(q, k, dy, v, state, delta, own_is_query=True)
        dk = _grad_qk(k, q, v, dy, state, delta, own_is_query=False)
        dv = _grad_v(q, k, dy, state)
    return channels_first(dq), channels_first(dk), channels_first(dv)


def _delta(y: Tensor, dy: Tensor) -> Tensor:
    b, h, w, c = y.shape
    delta = torch.empty((b, h, w), dtype=torch.float32, device=y.device)
    block, block_c, n_warps = delta_blocks(c)
    _criss_cross_delta_kernel[triton.cdiv(w, block), b * h](
        delta, y, dy, w, h, c, *_strides(False, delta, y, dy),
        BLOCK=block, BLOCK_C=block_c, num_warps=n_warps,
    )  # fmt: skip
    return delta


def _grad_qk(
    own: Tensor, other: Tensor, own_wide: Tensor, other_wide: Tensor, state: Tensor, delta: Tensor, *,
    own_is_query: bool,
) -> Tensor:  # fmt: skip
    b, h, w, d = own.shape
    c = own_wide.shape[-1]
    row = torch.empty((b, h, w, d), dtype=torch.float32, device=own.device)
    grad = torch.empty((b, h, w, d), dtype=own.dtype, device=own.device)
    for column, length, n_lines, blocks in _passes("bwd_qk", own, c):
        out = grad if column else row
        _criss_cross_bwd_qk_kernel[triton.cdiv(length, blocks.query), b * n_lines](
            out, own, other, own_wide, other_wide, state, delta, row, length, n_lines, d, c,
            *_strides(column, out, own, other, own_wide, other_wide, delta),
            BLOCK=blocks.query, BLOCK_D=blocks.d, BLOCK_C=blocks.c, OWN_IS_QUERY=own_is_query,
            COLUMN=column, **blocks.launch(),
            **_triton.dot_options(own.dtype),
        )  # fmt: skip
    return grad


def _grad_v(q: Tensor, k: Tensor, dy: Tensor, state: Tensor) -> Tensor:
    b, h, w, c = dy.shape
    d = q.shape[-1]
    row = torch.empty((b, h, w, c), dtype=torch.float32, device=q.device)
    dv = torch.empty((b, h, w, c), dtype=q.dtype, device=q.device)
    for column, length, n_lines, blocks in _passes("bwd_v", q, c):
        out = dv if column else row
        grid = (triton.cdiv(length, blocks.query), b * n_lines, triton.cdiv(c, blocks.c))
        _criss_cross_bwd_v_kernel[grid](
            out, q, k, dy, state, row, length, n_lines, d, c,
            *_strides(column, out, q, k, dy, state),
            BLOCK=blocks.query, BLOCK_D=blocks.d, BLOCK_C=blocks.c,
            COLUMN=column, **blocks.launch(),
            **_triton.dot_options(q.dtype),
        )  # fmt: skip
    return dv


def _passes(kernel: Kernel, q: Tensor, c: int) -> Iterator[tuple[bool, int, int, Blocks]]:
    """Rows, then columns: whether it is columns, the length of a line, lines in an image, and tiles."""
    _, h, w, d = q.shape
    for column, length, n_lines in ((False, w, h), (True, h, w)):
        yield column, length, n_lines, block_sizes(kernel, length, d, c, q.dtype)


def _strides(column: bool, *tensors: Tensor) -> tuple[int, ...]:
    """For each [B, H, W, ...]: strides of batch, of lines, and along a line."""
    line, at = (2, 1) if column else (1, 2)
    return tuple(s for x in tensors for s in (x.stride(0), x.stride(line), x.stride(at)))
