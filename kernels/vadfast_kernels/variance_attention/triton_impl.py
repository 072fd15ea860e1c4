"""STD's variance attention in four kernels: pool, square, gain, scale.

The one decision to know: x is read by rows of cells, so any memory format is read in order; everything between is 1 / cell^2 of x.

    forward     pooled = mean of x over cells;  v = |f - mean f|^2;  gain (triton_gain.py);  y = x gain
    backward    pooled again, and in the same pass dgain = sum of x dy over cells and channels (in parts, one a chunk of channels);
                dv;  df;  dpooled = df W and dW by PyTorch's products;  dx = dy gain + dpooled / cell^2

f is centred, not W and b as in plain PyTorch: that saves the launches, which took longer than what they did.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from vadfast_kernels import _triton
from vadfast_kernels.variance_attention.gain import share
from vadfast_kernels.variance_attention.triton_gain import gain_backward, gain_of
from vadfast_kernels.variance_attention.tuned import block_sizes, tile_of


@triton.jit
def _tile(c, j, x_c, x_w, CELL: tl.constexpr, BLOCK_CELL: tl.constexpr, C, N_CELLS):
    """Offsets and mask of one row of the cells ``j`` in the channels ``c``: [channels, cells, row of a cell]."""
    within = tl.arange(0, BLOCK_CELL)
    column = j[:, None] * CELL + within[None, :]
    at = c[:, None, None].to(tl.int64) * x_c + column[None, :, :].to(tl.int64) * x_w
    inside = (c < C)[:, None, None] & (j < N_CELLS)[None, :, None] & (within < CELL)[None, None, :]
    return at, inside


@triton.jit
def _variance_pool_kernel(
    pooled_ptr, dgain_ptr, x_ptr, dy_ptr, N_ROWS, N_CELLS, C,
    x_b, x_c, x_h, x_w, dy_b, dy_c, dy_h, dy_w, dgain_chunk,
    CELL: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_W: tl.constexpr, BLOCK_CELL: tl.constexpr,
    BACKWARD: tl.constexpr,
):  # fmt: skip
    """Means over cells of one row of cells, one chunk of channels; backward also that chunk's part of dgain."""
    row_of_cells, chunk = tl.program_id(0).to(tl.int64), tl.program_id(2)
    b, i = row_of_cells // N_ROWS, row_of_cells % N_ROWS
    j = tl.program_id(1) * BLOCK_W + tl.arange(0, BLOCK_W)
    c = chunk * BLOCK_C + tl.arange(0, BLOCK_C)
    x_at, inside = _tile(c, j, x_c, x_w, CELL, BLOCK_CELL, C, N_CELLS)
    dy_at, _ = _tile(c, j, dy_c, dy_w, CELL, BLOCK_CELL, C, N_CELLS)
    x_ptr += b * x_b + i * CELL * x_h
    dy_ptr += b * dy_b + i * CELL * dy_h
    total = tl.zeros((BLOCK_C, BLOCK_W), tl.float32)
    dgain = tl.zeros((BLOCK_C, BLOCK_W), tl.float32)
    for row in range(CELL):
        x = tl.load(x_ptr + row * x_h + x_at, mask=inside, other=0.0).to(tl.float32)
        total += tl.sum(x, 2)
        if BACKWARD:
            dy = tl.load(dy_ptr + row * dy_h + dy_at, mask=inside, other=0.0).to(tl.float32)
            dgain += tl.sum(x * dy, 2)
    cell = row_of_cells * N_CELLS + j
    pooled_at = cell[None, :] * C + c[:, None]
    inside_cells = (c < C)[:, None] & (j < N_CELLS)[None, :]
    tl.store(pooled_ptr + pooled_at, total / (CELL * CELL), mask=inside_cells)
    if BACKWARD:
        dgain_at = chunk.to(tl.int64) * dgain_chunk + cell
        tl.store(dgain_ptr + dgain_at, tl.sum(dgain, 0), mask=j < N_CELLS)


@triton.jit
def _embedding(
    pooled_ptr, weight_ptr, bias_ptr, n, d, N, C, D,
    BLOCK_N: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_D: tl.constexpr, BIAS: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """The embedding of the cells ``n`` in the channels ``d``; 0 beyond the last channel."""
    f = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
    if BIAS:
        f += tl.load(bias_ptr + d, mask=d < D, other=0.0).to(tl.float32)[None, :]
    for first_c in range(0, C, BLOCK_C):
        c = first_c + tl.arange(0, BLOCK_C)
        at, inside = n[:, None] * C + c[None, :], (n < N)[:, None] & (c < C)[None, :]
        pooled = tl.load(pooled_ptr + at, mask=inside, other=0.0)
        at, inside = d[:, None] * C + c[None, :], (d < D)[:, None] & (c < C)[None, :]
        weight = tl.load(weight_ptr + at, mask=inside, other=0.0).to(tl.float32)
        f = tl.dot(pooled, tl.trans(weight), f, input_precision=PRECISION)
    return f


@triton.jit
def _variance_square_kernel(
    out_ptr, pooled_ptr, weight_ptr, bias_ptr, dv_ptr, N, C, D, share,
    BLOCK_N: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_D: tl.constexpr, BIAS: tl.constexpr,
    PRECISION: tl.constexpr, BACKWARD: tl.constexpr,
):  # fmt: skip
    """The variance of BLOCK_N cells: the embedding exists in registers only; backward its gradient instead, by f made again."""
    n = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    mean = tl.zeros((BLOCK_N,), tl.float32)
    squares = tl.zeros((BLOCK_N,), tl.float32)
    for first_d in range(0, D, BLOCK_D):
        d = first_d + tl.arange(0, BLOCK_D)
        f = _embedding(
            pooled_ptr, weight_ptr, bias_ptr, n, d, N, C, D,
            BLOCK_N, BLOCK_C, BLOCK_D, BIAS, PRECISION,
        )  # fmt: skip
        # Each block about its own mean, then both about their common one (Chan et al., 1979): nothing cancels.
        more = tl.minimum(BLOCK_D, D - first_d).to(tl.float32)
        own_mean = tl.sum(f, 1) / more
        own = tl.where((d < D)[None, :], f - own_mean[:, None], 0.0)
        apart, part = own_mean - mean, more / (first_d + more)
        squares += tl.sum(own * own, 1) + apart * apart * (first_d * part)
        mean += apart * part
    if BACKWARD:
        slope = tl.load(dv_ptr + n, mask=n < N, other=0.0) * (2 * share)
        for first_d in range(0, D, BLOCK_D):
            d = first_d + tl.arange(0, BLOCK_D)
            f = _embedding(
                pooled_ptr, weight_ptr, bias_ptr, n, d, N, C, D,
                BLOCK_N, BLOCK_C, BLOCK_D, BIAS, PRECISION,
            )  # fmt: skip
            at, inside = n[:, None] * D + d[None, :], (n < N)[:, None] & (d < D)[None, :]
            tl.store(out_ptr + at, (f - mean[:, None]) * slope[:, None], mask=inside)
    else:
        tl.store(out_ptr + n, squares * share, mask=n < N)


@triton.jit
def _variance_scale_kernel(
    y_ptr, x_ptr, gain_ptr, add_ptr, N_ROWS, N_CELLS, C,
    y_b, y_c, y_h, y_w, x_b, x_c, x_h, x_w,
    CELL: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_W: tl.constexpr, BLOCK_CELL: tl.constexpr,
    BACKWARD: tl.constexpr,
):  # fmt: skip
    """Each position times its gain, of one row of cells, one chunk of channels; backward with dpooled / cell^2 added."""
    row_of_cells = tl.program_id(0).to(tl.int64)
    b, i = row_of_cells // N_ROWS, row_of_cells % N_ROWS
    j = tl.program_id(1) * BLOCK_W + tl.arange(0, BLOCK_W)
    c = tl.program_id(2) * BLOCK_C + tl.arange(0, BLOCK_C)
    x_at, inside = _tile(c, j, x_c, x_w, CELL, BLOCK_CELL, C, N_CELLS)
    y_at, _ = _tile(c, j, y_c, y_w, CELL, BLOCK_CELL, C, N_CELLS)
    x_ptr += b * x_b + i * CELL * x_h
    y_ptr += b * y_b + i * CELL * y_h
    cell = row_of_cells * N_CELLS + j
    gain = tl.load(gain_ptr + cell, mask=j < N_CELLS, other=0.0)[None, :, None]
    add = tl.zeros((BLOCK_C, BLOCK_W), tl.float32)
    if BACKWARD:
        inside_cells = (c < C)[:, None] & (j < N_CELLS)[None, :]
        add = tl.load(add_ptr + cell[None, :] * C + c[:, None], mask=inside_cells, other=0.0)
        add = add / (CELL * CELL)
    for row in range(CELL):
        x = tl.load(x_ptr + row * x_h + x_at, mask=inside, other=0.0).to(tl.float32)
        y = x * gain + add[:, :, None]
        tl.store(y_ptr + row * y_h + y_at, y.to(y_ptr.dtype.element_ty), mask=inside)


def forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, cell: int, variant: str
) -> tuple[Tensor, Tensor]:
    """Returns y like x, and the variance v of each cell [B, P] float32."""
    with torch.cuda.device_of(x):
        pooled, _ = _pool(x, None, cell)
        v = torch.empty(pooled.shape[:2], dtype=torch.float32, device=x.device)
        _square(v, pooled, weight, bias, None, variant)
        return _scale(x, gain_of(v, variant), None, cell, like=x), v


def backward(
    x: Tensor, weight: Tensor, bias: Tensor | None, v: Tensor, dy: Tensor, cell: int, variant: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns dx like x, dweight [D, C] and dbias [D], empty without a bias."""
    with torch.cuda.device_of(x):
        pooled, parts = _pool(x, dy, cell)
        gain, dv = gain_backward(v, parts, variant)
        # Its mean over D is 0: what it is multiplied with needs no centring.
        df = torch.empty((v.numel(), len(weight)), dtype=torch.float32, device=x.device)
        _square(df, pooled, weight, bias, dv, variant)
        dweight = (df.T @ pooled.flatten(0, 1)).to(weight.dtype)
        dbias = weight.new_empty(0) if bias is None else df.sum(dim=0).to(bias.dtype)
        return _scale(dy, gain, df @ weight.to(df.dtype), cell, like=x), dweight, dbias


def _pool(x: Tensor, dy: Tensor | None, cell: int) -> tuple[Tensor, Tensor]:
    """Returns the means [B, P, C] float32, and with ``dy`` the gradient of the gain in parts [parts, B, P]."""
    b, c, h, w = x.shape
    n_rows, n_cells = h // cell, w // cell
    tile = tile_of(c, n_cells, cell)
    grid = (b * n_rows, triton.cdiv(n_cells, tile.w), triton.cdiv(c, tile.c))
    pooled = torch.empty((b, n_rows * n_cells, c), dtype=torch.float32, device=x.device)
    # A sum in a fixed order, and no atomics: each chunk of channels writes its own part.
    n_parts = 0 if dy is None else grid[2]
    parts = torch.empty((n_parts, b, n_rows * n_cells), dtype=torch.float32, device=x.device)
    other = x if dy is None else dy
    _variance_pool_kernel[grid](
        pooled, parts, x, other, n_rows, n_cells, c, *x.stride(), *other.stride(),
        b * n_rows * n_cells, CELL=cell, BLOCK_C=tile.c, BLOCK_W=tile.w, BLOCK_CELL=tile.cell,
        BACKWARD=dy is not None, num_warps=tile.n_warps,
    )  # fmt: skip
    return pooled, parts


def _square(
    out: Tensor,
    pooled: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    dv: Tensor | None,
    variant: str,
) -> None:
    """Writes v [B, P], or with ``dv`` the gradient of f [B P, D]."""
    n, (d, c) = pooled.shape[0] * pooled.shape[1], weight.shape
    blocks = block_sizes(c, d)
    _variance_square_kernel[(triton.cdiv(n, blocks.positions),)](
        out, pooled, weight.contiguous(), weight if bias is None else bias.contiguous(),
        out if dv is None else dv, n, c, d, share(d, variant),
        BLOCK_N=blocks.positions, BLOCK_C=blocks.c, BLOCK_D=blocks.d, BIAS=bias is not None,
        PRECISION=_triton.precision_of(weight.dtype), BACKWARD=dv is not None,
        num_warps=blocks.n_warps, num_stages=blocks.n_stages,
    )  # fmt: skip


def _scale(x: Tensor, gain: Tensor, add: Tensor | None, cell: int, *, like: Tensor) -> Tensor:
    """Returns x gain, plus ``add`` [B, P, C] / cell^2 where it is given, in the memory format of ``like``."""
    b, c, h, w = x.shape
    n_rows, n_cells = h // cell, w // cell
    tile = tile_of(c, n_cells, cell)
    y = torch.empty_like(like)
    grid = (b * n_rows, triton.cdiv(n_cells, tile.w), triton.cdiv(c, tile.c))
    _variance_scale_kernel[grid](
        y, x, gain, gain if add is None else add, n_rows, n_cells, c, *y.stride(), *x.stride(),
        CELL=cell, BLOCK_C=tile.c, BLOCK_W=tile.w, BLOCK_CELL=tile.cell, BACKWARD=add is not None,
        num_warps=tile.n_warps,
    )  # fmt: skip
    return y
