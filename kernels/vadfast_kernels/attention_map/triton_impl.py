"""ADL's attention map in two kernels: M with the extremes of each tile, then M scaled in place.

The one decision to know: M is written where the map will be, and the second kernel reads the extremes of its whole sample anew in
every program, a few hundred numbers from the cache. So there is no third kernel, no atomic and no memory beyond the map.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from vadfast_kernels.attention_map.rank_pooling import weights_on
from vadfast_kernels.attention_map.tuned import block_sizes


@triton.jit
def _nan_of(x):
    """NaN where one of ``x`` is, else 0: what extremes of a tile do not tell."""
    return tl.sum(tl.where(x != x, x, 0.0))


@triton.jit
def _attention_map_pool_kernel(
    m_ptr, extreme_ptr, x_ptr, alpha_ptr, T, C, H, W, x_b, x_t, x_c, x_h, x_w,
    BLOCK_H: tl.constexpr, BLOCK_W: tl.constexpr,
):  # fmt: skip
    """M of one tile of one channel, contiguous, and its least and largest value."""
    program = tl.program_id(0)
    n_down, n_across = tl.cdiv(H, BLOCK_H), tl.cdiv(W, BLOCK_W)
    # Channels first: those of one pixel may share a line of memory.
    c, tile = program % C, (program // C) % (n_down * n_across)
    b = (program // (C * n_down * n_across)).to(tl.int64)
    y = ((tile // n_across) * BLOCK_H + tl.arange(0, BLOCK_H))[:, None].to(tl.int64)
    x = ((tile % n_across) * BLOCK_W + tl.arange(0, BLOCK_W))[None, :].to(tl.int64)
    inside = (y < H) & (x < W)
    x_at = x_ptr + b * x_b + c.to(tl.int64) * x_c + y * x_h + x * x_w
    m = tl.zeros((BLOCK_H, BLOCK_W), tl.float32)
    for t in range(T):
        # In float32 at once: the interpreter keeps bfloat16 as integers and would multiply those.
        frame = tl.load(x_at, mask=inside, other=0).to(tl.float32)
        m += tl.load(alpha_ptr + t) * frame
        x_at += x_t
    tl.store(m_ptr + ((b * C + c) * H + y) * W + x, m, mask=inside)
    low = tl.min(tl.where(inside, m, float("inf")))
    high = tl.max(tl.where(inside, m, float("-inf"))) + _nan_of(m)
    tl.store(extreme_ptr + program, low)
    tl.store(extreme_ptr + tl.num_programs(0) + program, high)


@triton.jit
def _attention_map_scale_kernel(
    m_ptr, extreme_ptr, N, TILES, N_TILES, eps, background, BLOCK: tl.constexpr
):  # fmt: skip
    """A part of one sample's M into the map, in place; ``extreme_ptr`` holds TILES least values a sample, then the largest."""
    chunks = tl.cdiv(N, BLOCK)
    b = (tl.program_id(0) // chunks).to(tl.int64)
    n = (tl.program_id(0) % chunks) * BLOCK + tl.arange(0, BLOCK)
    low = tl.full((BLOCK,), float("inf"), tl.float32)
    high = tl.full((BLOCK,), float("-inf"), tl.float32)
    nan = tl.zeros((BLOCK,), tl.float32)
    for first in range(0, TILES, BLOCK):
        tile = first + tl.arange(0, BLOCK)
        at, there = extreme_ptr + b * TILES + tile, tile < TILES
        low = tl.minimum(low, tl.load(at, mask=there, other=float("inf")))
        of_tile = tl.load(at + N_TILES, mask=there, other=float("-inf"))
        nan += tl.where(of_tile != of_tile, of_tile, 0.0)
        high = tl.maximum(high, of_tile)
    spread = tl.max(high) - tl.min(low) + tl.sum(nan)
    spread = tl.maximum(spread, eps, propagate_nan=tl.PropagateNan.ALL)
    m_at = m_ptr + b * N + n
    share = tl.abs(tl.load(m_at, mask=n < N, other=0.0)) / spread
    a = tl.minimum(share, 1.0, propagate_nan=tl.PropagateNan.ALL) + background
    tl.store(m_at, a, mask=n < N)


def forward(x: Tensor, eps: float, background: float) -> Tensor:
    """Returns the map [B, C, H, W] of frames [B, T, C, H, W]; ``eps`` is in units of the frames."""
    b, t, c, h, w = x.shape
    blocks = block_sizes(h, w)
    n_tiles = c * triton.cdiv(h, blocks.height) * triton.cdiv(w, blocks.width)
    m = torch.empty(b, c, h, w, dtype=torch.float32, device=x.device)
    extremes = torch.empty(2, b * n_tiles, dtype=torch.float32, device=x.device)
    with torch.cuda.device_of(x):  # which need not be the current one
        _attention_map_pool_kernel[(b * n_tiles,)](
            m, extremes, x, weights_on(t, torch.float32, x.device), t, c, h, w, *x.stride(),
            BLOCK_H=blocks.height, BLOCK_W=blocks.width, num_warps=blocks.n_warps,
        )  # fmt: skip
        _attention_map_scale_kernel[(b * triton.cdiv(c * h * w, blocks.line),)](
            m, extremes, c * h * w, n_tiles, b * n_tiles, eps, background,
            BLOCK=blocks.line, num_warps=blocks.n_line_warps,
        )  # fmt: skip
    return m
