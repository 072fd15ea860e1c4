"""The kernels of APN's prototype attention: two passes over z either way, and one that merges their parts; ``triton_impl.py`` launches them.

The one decision to know: sums over positions are split among at most ``MAX_SPLITS`` programs, each of which writes its own part; the
parts are added in a fixed order. So there is no atomic, and a result does not depend on how many programs run at once.

    forward     sum:       parts of u and of the softmax over positions      merge:   u, its length, p
                retrieve:  y, compactness
    backward    bwd_p:     parts of dp                                       bwd_u:   du
                bwd_z:     dz, parts of dweight

Products go over a few channels a step, and a tile is read again, from the cache, where it is added up: with whole tiles of every operand
at once the gradient spilled 34 kB. Tiles are float32 from the load on, so the interpreter needs no upcast of its own; products of halves
are then TF32.
"""

import triton
import triton.language as tl

from vadfast_kernels._constants import LN2, LOG2E
from vadfast_kernels.prototype_attention.op import EPS

EPSILON = tl.constexpr(EPS)


@triton.jit
def _load(ptr, row, stride, c, N, C):
    """A tile [rows, channels] in float32, zero outside."""
    inside = (row < N)[:, None] & (c < C)[None, :]
    at = row[:, None].to(tl.int64) * stride + c[None, :]
    return tl.load(ptr + at, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def _retrieve(s, gram, m, M, PRECISION: tl.constexpr):
    """From scores z . p, each [positions, prototypes]: their softmax over |r|, r / |r| . p, and which p is nearest."""
    s = tl.where((m < M)[None, :], s, float("-inf"))
    nearest = tl.argmax(s, 1)
    beta = tl.exp2((s - tl.max(s, 1)[:, None]) * LOG2E)
    beta = beta / tl.sum(beta, 1)[:, None]
    toward = tl.dot(beta, gram, input_precision=PRECISION)
    length = tl.sqrt(tl.maximum(tl.sum(beta * toward, 1), 0.0))
    length = tl.maximum(length, EPSILON)[:, None]
    return beta / length, toward / length, nearest


@triton.jit
def _retrieve_backward(s, to, gram, m, M, PRECISION: tl.constexpr):
    """From z . p and dy . p: the gradient of the scores and beta [positions, prototypes], dy . r / |r| and the nearest [positions]."""
    beta, toward, nearest = _retrieve(s, gram, m, M, PRECISION)
    along = tl.sum(beta * to, 1)
    ds = beta * (to - toward * along[:, None])  # its sum over m is 0: nothing to subtract
    return ds, beta, along, nearest


@triton.jit
def _store_part(ptr, value, first, m, c, M, C):
    """A split's sums [prototypes, channels], of which ``first`` is the first prototype's place."""
    inside = (m < M)[:, None] & (c < C)[None, :]
    tl.store(ptr + (first + m)[:, None] * C + c[None, :], value, mask=inside)


@triton.jit
def prototype_sum_kernel(
    u_ptr, top_ptr, total_ptr, z_ptr, w_ptr, N, C, M, PER_SPLIT, z_b, z_n, w_m,
    BLOCK_N: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_M: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """One split's part of u, one chunk of channels, as flash attention: relative to exp2(top), total the sum of weights."""
    split, b, chunk = tl.program_id(0), tl.program_id(1).to(tl.int64), tl.program_id(2)
    m, own = tl.arange(0, BLOCK_M), chunk * BLOCK_C + tl.arange(0, BLOCK_C)
    z_ptr += b * z_b
    top = tl.full((BLOCK_M,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK_M,), tl.float32)
    u = tl.zeros((BLOCK_M, BLOCK_C), tl.float32)
    for first in range(0, PER_SPLIT, BLOCK_N):
        n = split * PER_SPLIT + first + tl.arange(0, BLOCK_N)
        s = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
        for first_c in range(0, C, BLOCK_K):
            c = first_c + tl.arange(0, BLOCK_K)
            z, w = _load(z_ptr, n, z_n, c, N, C), _load(w_ptr, m, w_m, c, M, C)
            s = tl.dot(w, tl.trans(z), s, input_precision=PRECISION)
        s = tl.where((n < N)[None, :], s * LOG2E, float("-inf"))
        # Finite from the first tile on, which has a position: the last split may only end early.
        new = tl.maximum(top, tl.max(s, 1))
        share, keep = tl.exp2(s - new[:, None]), tl.exp2(top - new)
        total = total * keep + tl.sum(share, 1)
        z = _load(z_ptr, n, z_n, own, N, C)
        u = tl.dot(share, z, u * keep[:, None], input_precision=PRECISION)
        top = new
    first_part = (b * tl.num_programs(0) + split) * M
    if chunk == 0:
        tl.store(top_ptr + first_part + m, top, mask=m < M)
        tl.store(total_ptr + first_part + m, total, mask=m < M)
    _store_part(u_ptr, u, first_part, m, own, M, C)


@triton.jit
def prototype_merge_kernel(
    p_ptr, lse_ptr, length_ptr, u_ptr, top_ptr, total_ptr, N_SPLITS, C, M,
    ALL_SPLITS: tl.constexpr, BLOCK_S: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """One prototype of one image, from the parts of all splits."""
    m, b = tl.program_id(0), tl.program_id(1).to(tl.int64)
    c, every = tl.arange(0, BLOCK_C), tl.arange(0, ALL_SPLITS)
    at = (b * N_SPLITS + every) * M + m
    top = tl.max(tl.load(top_ptr + at, mask=every < N_SPLITS, other=float("-inf")), 0)
    total = tl.zeros((BLOCK_S,), tl.float32)
    u = tl.zeros((BLOCK_C,), tl.float32)
    for first in range(0, N_SPLITS, BLOCK_S):
        split = first + tl.arange(0, BLOCK_S)
        part = (b * N_SPLITS + split) * M + m
        own_top = tl.load(top_ptr + part, mask=split < N_SPLITS, other=float("-inf"))
        own_total = tl.load(total_ptr + part, mask=split < N_SPLITS, other=0.0)
        inside = (split < N_SPLITS)[:, None] & (c < C)[None, :]
        own_u = tl.load(u_ptr + part[:, None] * C + c[None, :], mask=inside, other=0.0)
        keep = tl.exp2(own_top - top)
        total += own_total * keep
        u += tl.sum(own_u * keep[:, None], 0)
    sum_of_weights = tl.sum(total, 0)
    u = u / sum_of_weights
    length = tl.sqrt(tl.sum(u * u, 0))
    tl.store(p_ptr + (b * M + m) * C + c, u / tl.maximum(length, EPSILON), mask=c < C)
    tl.store(lse_ptr + b * M + m, (top + tl.log2(sum_of_weights)) * LN2)
    tl.store(length_ptr + b * M + m, length)


@triton.jit
def prototype_retrieve_kernel(
    y_ptr, compactness_ptr, z_ptr, p_ptr, gram_ptr, N, C, M, z_b, z_n,
    BLOCK_N: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_M: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Both results of one tile of positions."""
    b = tl.program_id(1).to(tl.int64)
    n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    m = tl.arange(0, BLOCK_M)
    z_ptr += b * z_b
    p_ptr += b * M * C
    gram = _load(gram_ptr + b * M * M, m, M, m, M, M)
    s = tl.zeros((BLOCK_N, BLOCK_M), tl.float32)
    for first_c in range(0, C, BLOCK_K):
        c = first_c + tl.arange(0, BLOCK_K)
        z, p = _load(z_ptr, n, z_n, c, N, C), _load(p_ptr, m, C, c, M, C)
        s = tl.dot(z, tl.trans(p), s, input_precision=PRECISION)
    beta, _, nearest = _retrieve(s, gram, m, M, PRECISION)
    # 0, or NaN: that of a prototype reaches every position, whichever the nearest is said to be.
    compactness = tl.sum(beta, 1) * 0.0
    for first_c in range(0, C, BLOCK_K):
        c = first_c + tl.arange(0, BLOCK_K)
        z, p = _load(z_ptr, n, z_n, c, N, C), _load(p_ptr, m, C, c, M, C)
        apart = z - _load(p_ptr, nearest, C, c, M, C)
        compactness += tl.sum(apart * apart, 1)
        y = tl.dot(beta, p, z, input_precision=PRECISION)
        inside = (n < N)[:, None] & (c < C)[None, :]
        at = (b * N + n[:, None]) * C + c[None, :]
        tl.store(y_ptr + at, y.to(y_ptr.dtype.element_ty), mask=inside)
    tl.store(compactness_ptr + b * N + n, compactness, mask=n < N)


@triton.jit
def prototype_bwd_p_kernel(
    dp_ptr, z_ptr, p_ptr, gram_ptr, dy_ptr, dcompactness_ptr, N, C, M, PER_SPLIT,
    z_b, z_n, dy_b, dy_n,
    BLOCK_N: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_M: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """One split's part of the gradient of p, one chunk of channels."""
    split, b, chunk = tl.program_id(0), tl.program_id(1).to(tl.int64), tl.program_id(2)
    m, own = tl.arange(0, BLOCK_M), chunk * BLOCK_C + tl.arange(0, BLOCK_C)
    z_ptr += b * z_b
    dy_ptr += b * dy_b
    p_ptr += b * M * C
    gram = _load(gram_ptr + b * M * M, m, M, m, M, M)
    dp = tl.zeros((BLOCK_M, BLOCK_C), tl.float32)
    among = tl.zeros((BLOCK_M, BLOCK_M), tl.float32)  # what prototypes give each other
    for first in range(0, PER_SPLIT, BLOCK_N):
        n = split * PER_SPLIT + first + tl.arange(0, BLOCK_N)
        s = tl.zeros((BLOCK_N, BLOCK_M), tl.float32)
        to = tl.zeros((BLOCK_N, BLOCK_M), tl.float32)
        for first_c in range(0, C, BLOCK_K):
            c = first_c + tl.arange(0, BLOCK_K)
            p = tl.trans(_load(p_ptr, m, C, c, M, C))
            s = tl.dot(_load(z_ptr, n, z_n, c, N, C), p, s, input_precision=PRECISION)
            to = tl.dot(_load(dy_ptr, n, dy_n, c, N, C), p, to, input_precision=PRECISION)
        dt = tl.load(dcompactness_ptr + b * N + n, mask=n < N, other=0.0)
        ds, beta, along, nearest = _retrieve_backward(s, to, gram, m, M, PRECISION)
        g = _load(dy_ptr, n, dy_n, own, N, C)
        dp = tl.dot(tl.trans(beta), g, dp, input_precision=PRECISION)
        # ds z = ds (z - p*) + ds p*: the gradient of |z - p*|^2 joins the first, the second is a product of M by M.
        chosen = tl.where(nearest[:, None] == m[None, :], 1.0, 0.0)
        among = tl.dot(tl.trans(ds), chosen, among, input_precision=PRECISION)
        among = tl.dot(tl.trans(beta * -along[:, None]), beta, among, input_precision=PRECISION)
        apart = _load(z_ptr, n, z_n, own, N, C) - _load(p_ptr, nearest, C, own, M, C)
        ds -= 2.0 * dt[:, None] * chosen
        dp = tl.dot(tl.trans(ds), apart, dp, input_precision=PRECISION)
    dp = tl.dot(among, _load(p_ptr, m, C, own, M, C), dp, input_precision=PRECISION)
    _store_part(dp_ptr, dp, (b * tl.num_programs(0) + split) * M, m, own, M, C)


@triton.jit
def prototype_bwd_u_kernel(
    du_ptr, dp_ptr, part_ptr, p_ptr, length_ptr, N_SPLITS, C, M,
    BLOCK_S: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """The gradient of u of one prototype of one image, from all of that of p = u / |u|: what is along p is lost."""
    m, b = tl.program_id(0), tl.program_id(1).to(tl.int64)
    c = tl.arange(0, BLOCK_C)
    at = (b * M + m) * C + c
    dp = tl.load(dp_ptr + at, mask=c < C, other=0.0)
    for first in range(0, N_SPLITS, BLOCK_S):
        split = first + tl.arange(0, BLOCK_S)
        part = (b * N_SPLITS + split) * M + m
        inside = (split < N_SPLITS)[:, None] & (c < C)[None, :]
        dp += tl.sum(tl.load(part_ptr + part[:, None] * C + c[None, :], mask=inside, other=0.0), 0)
    p = tl.load(p_ptr + at, mask=c < C, other=0.0)
    length = tl.load(length_ptr + b * M + m)
    du = (dp - p * tl.sum(p * dp, 0)) / tl.maximum(length, EPSILON)
    tl.store(du_ptr + at, du, mask=c < C)


@triton.jit
def prototype_bwd_z_kernel(
    dz_ptr, dw_ptr, z_ptr, w_ptr, p_ptr, gram_ptr, du_ptr, lse_ptr, length_ptr, dy_ptr,
    dcompactness_ptr,
    N, C, M, PER_SPLIT, z_b, z_n, w_m, dy_b, dy_n,
    BLOCK_N: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_M: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """The gradient of one split's positions, one chunk of channels, and its part of that of the weight."""
    split, b, chunk = tl.program_id(0), tl.program_id(1).to(tl.int64), tl.program_id(2)
    m, own = tl.arange(0, BLOCK_M), chunk * BLOCK_C + tl.arange(0, BLOCK_C)
    z_ptr += b * z_b
    dy_ptr += b * dy_b
    p_ptr += b * M * C
    du_ptr += b * M * C
    gram = _load(gram_ptr + b * M * M, m, M, m, M, M)
    lse = tl.load(lse_ptr + b * M + m, mask=m < M, other=0.0)
    dw = tl.zeros((BLOCK_M, BLOCK_C), tl.float32)
    sum_of_dscore = tl.zeros((BLOCK_M,), tl.float32)
    for first in range(0, PER_SPLIT, BLOCK_N):
        n = split * PER_SPLIT + first + tl.arange(0, BLOCK_N)
        s = tl.zeros((BLOCK_N, BLOCK_M), tl.float32)
        to = tl.zeros((BLOCK_N, BLOCK_M), tl.float32)
        share = tl.zeros((BLOCK_N, BLOCK_M), tl.float32)
        dshare = tl.zeros((BLOCK_N, BLOCK_M), tl.float32)
        for first_c in range(0, C, BLOCK_K):
            c = first_c + tl.arange(0, BLOCK_K)
            z, p = _load(z_ptr, n, z_n, c, N, C), tl.trans(_load(p_ptr, m, C, c, M, C))
            w, du = tl.trans(_load(w_ptr, m, w_m, c, M, C)), tl.trans(_load(du_ptr, m, C, c, M, C))
            s = tl.dot(z, p, s, input_precision=PRECISION)
            share = tl.dot(z, w, share, input_precision=PRECISION)
            dshare = tl.dot(z, du, dshare, input_precision=PRECISION)
            to = tl.dot(_load(dy_ptr, n, dy_n, c, N, C), p, to, input_precision=PRECISION)
        dt = tl.load(dcompactness_ptr + b * N + n, mask=n < N, other=0.0)
        ds, _, _, nearest = _retrieve_backward(s, to, gram, m, M, PRECISION)
        # Outside, a very negative lse would make infinities, and those times 0 NaN.
        live = (n < N)[:, None] & (m < M)[None, :]
        share = tl.where(live, tl.exp2((share - lse[None, :]) * LOG2E), 0.0)
        dscore = share * dshare  # du . u = 0 but for round-off
        sum_of_dscore += tl.sum(dscore, 0)
        own_z = _load(z_ptr, n, z_n, own, N, C)
        dw = tl.dot(tl.trans(dscore), own_z, dw, input_precision=PRECISION)
        for first_c in range(0, BLOCK_C, BLOCK_K):
            c = chunk * BLOCK_C + first_c + tl.arange(0, BLOCK_K)
            g, z = _load(dy_ptr, n, dy_n, c, N, C), _load(z_ptr, n, z_n, c, N, C)
            dz = g + 2.0 * dt[:, None] * (z - _load(p_ptr, nearest, C, c, M, C))
            dz = tl.dot(ds, _load(p_ptr, m, C, c, M, C), dz, input_precision=PRECISION)
            dz = tl.dot(dscore, _load(w_ptr, m, w_m, c, M, C), dz, input_precision=PRECISION)
            dz = tl.dot(share, _load(du_ptr, m, C, c, M, C), dz, input_precision=PRECISION)
            inside = (n < N)[:, None] & (c < C)[None, :]
            at = (b * N + n[:, None]) * C + c[None, :]
            tl.store(dz_ptr + at, dz.to(dz_ptr.dtype.element_ty), mask=inside)
    # Positions relative to their mean u: that round-off times u is more than what is left of z - u.
    length = tl.load(length_ptr + b * M + m, mask=m < M, other=0.0)
    dw -= (sum_of_dscore * length)[:, None] * _load(p_ptr, m, C, own, M, C)
    _store_part(dw_ptr, dw, (b * tl.num_programs(0) + split) * M, m, own, M, C)
