"""STA's attention in linear time: a program owns some columns of a bag, and keeps their sums in registers.

The one decision to know: the features (2 n + 1 numbers an element) exist in registers only, made anew wherever they are needed from
one sine and one cosine. Sums over a row need all programs of the row, so they are kernels of their own; a sum over a column is
made by whoever reads it, and read by nobody else. So there is no atomic, and a result does not depend on how many programs run.

    forward     rows:   parts of the row sums of psi(phi) x (f, 1)           merge:  their total, and K times it
                mean
    backward    rows, merge, query:  dtheta, and d(sums) = (a, b)            of psi(phi) x (f, 1)
                rows, merge, key:    df, and parts of the planes' gradient   of psi(theta) x (a, b)
                product:             parts of dK, of the columns

Angles are never made: psi takes their cosine and sine, which are f w + b over its length.

The gradients of the weights are sums that nearly cancel. Eager loses little of them, because it weighs differences f - mean; here f
is centred instead (the mean of a cross moves with f, its gradients do not), sums over a row are float64 beyond a few hundred
elements, and so are dK and what comes of a program.
"""

import triton
import triton.language as tl

from vadfast_kernels.sta_attention.triton_circle import (
    KEY,
    QUERY,
    added,
    chained,
    direction_of,
    no_sums,
    own_of,
    read,
    sources,
    store_columns,
    store_parts,
    sum_columns,
    sums_so_far,
    times_kernel,
)


@triton.jit
def sta_rows_kernel(
    parts_ptr, f_ptr, shift_ptr, a_ptr, b_ptr, planes_ptr, N, C, PER_SPLIT,
    LINE: tl.constexpr, BLOCK: tl.constexpr, H: tl.constexpr,
    CENTRED: tl.constexpr, WEIGHTED: tl.constexpr,
):  # fmt: skip
    """One split's part of the sums of psi x ``sources`` over one row."""
    row, split = tl.program_id(0).to(tl.int64), tl.program_id(1)
    shift = tl.load(shift_ptr + row // N) if CENTRED else 0.0
    sums = no_sums(4 * H + 2, BLOCK)
    for first in range(split * PER_SPLIT, min((split + 1) * PER_SPLIT, C), BLOCK):
        column = first + tl.arange(0, BLOCK)
        inside = column < C
        f = tl.load(f_ptr + row * C + column, mask=inside, other=0.0)
        c, s, _ = direction_of(f, planes_ptr, LINE)
        a, b = sources(f, shift, a_ptr, b_ptr, row * C + column, inside, WEIGHTED)
        sums = sums_so_far(sums, c, s, a, b, H)
    part = (row * tl.num_programs(1) + split) * (4 * H + 2)
    for i in tl.static_range(4 * H + 2):
        tl.store(parts_ptr + part + i, tl.sum(sums[i], 0))


@triton.jit
def sta_merge_kernel(
    rows_ptr, product_ptr, parts_ptr, kernel_ptr, N_SPLITS, F: tl.constexpr, BLOCK_F: tl.constexpr
):
    """Row sums [F, 2] of one row in float64, and K times them."""
    row = tl.program_id(0).to(tl.int64)
    i, j = tl.arange(0, BLOCK_F), tl.arange(0, BLOCK_F)
    a, b = tl.zeros((BLOCK_F,), tl.float64), tl.zeros((BLOCK_F,), tl.float64)
    for split in range(N_SPLITS):
        part = parts_ptr + ((row * N_SPLITS + split) * F + j) * 2
        a += tl.load(part, mask=j < F, other=0.0).to(tl.float64)
        b += tl.load(part + 1, mask=j < F, other=0.0).to(tl.float64)
    at = (row * F + j) * 2
    tl.store(rows_ptr + at, a, mask=j < F)
    tl.store(rows_ptr + at + 1, b, mask=j < F)
    inside = (i < F)[:, None] & (j < F)[None, :]
    k = tl.load(kernel_ptr + i[:, None] * F + j[None, :], mask=inside, other=0.0).to(tl.float64)
    at = (row * F + i) * 2
    tl.store(product_ptr + at, tl.sum(k * a[None, :], 1).to(tl.float32), mask=i < F)
    tl.store(product_ptr + at + 1, tl.sum(k * b[None, :], 1).to(tl.float32), mask=i < F)


@triton.jit
def _own_columns(N, C, BLOCK: tl.constexpr):
    """The bag of one program; its columns, which of them exist, and where their first elements lie."""
    bag = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    return bag, c, c < C, bag * N * C + c


@triton.jit
def sta_mean_kernel(
    y_ptr, f_ptr, planes_ptr, kernel_ptr, row_ptr, N, C, BLOCK: tl.constexpr, H: tl.constexpr
):
    """Adds f and the mean over the cross, of each element of some columns of one bag."""
    bag, _column, inside, at = _own_columns(N, C, BLOCK)
    columns = sum_columns(
        f_ptr, 0.0, f_ptr, f_ptr, planes_ptr, at, inside, N, C, KEY, BLOCK, H, False
    )  # fmt: skip
    columns = times_kernel(kernel_ptr, columns, BLOCK, H)
    for n in range(N):
        here = at + n * C
        f = tl.load(f_ptr + here, mask=inside, other=0.0)
        cos, sin, _ = direction_of(f, planes_ptr, QUERY)
        top, bottom, _, _ = read(cos, sin, row_ptr + (bag * N + n) * (4 * H + 2), columns, H)
        own = own_of(f, planes_ptr)
        tl.store(y_ptr + here, (top - own * f) / (bottom - own) + f, mask=inside)


@triton.jit
def sta_bwd_query_kernel(
    dtheta_ptr, a_ptr, b_ptr, columns_ptr,
    f_ptr, shift_ptr, planes_ptr, dy_ptr, kernel_ptr, row_ptr, N, C,
    BLOCK: tl.constexpr, H: tl.constexpr,
):  # fmt: skip
    """As the mean, from f centred; (a, b) is the gradient of both sums of an element: of values, and of weights."""
    bag, c, inside, at = _own_columns(N, C, BLOCK)
    shift = tl.load(shift_ptr + bag)
    columns = sum_columns(
        f_ptr, shift, f_ptr, f_ptr, planes_ptr, at, inside, N, C, KEY, BLOCK, H, False
    )  # fmt: skip
    store_columns(columns_ptr, columns, bag, c, inside, C, H)
    columns = times_kernel(kernel_ptr, columns, BLOCK, H)
    for n in range(N):
        here, row = at + n * C, row_ptr + (bag * N + n) * (4 * H + 2)
        f = tl.load(f_ptr + here, mask=inside, other=0.0)
        cos, sin, _ = direction_of(f, planes_ptr, QUERY)
        top, bottom, dtop, dbottom = read(cos, sin, row, columns, H)
        own = own_of(f, planes_ptr)
        total = bottom - own
        mean = (top - own * (f - shift)) / total
        a = tl.load(dy_ptr + here, mask=inside, other=0.0) / total
        tl.store(a_ptr + here, a, mask=inside)
        tl.store(b_ptr + here, -a * mean, mask=inside)
        tl.store(dtheta_ptr + here, a * (dtop - mean * dbottom), mask=inside)


@triton.jit
def sta_bwd_key_kernel(
    df_ptr, parts_ptr, columns_ptr,
    f_ptr, shift_ptr, planes_ptr, dy_ptr, dtheta_ptr, a_ptr, b_ptr, kernel_ptr, row_ptr, N, C,
    BLOCK: tl.constexpr, H: tl.constexpr,
):  # fmt: skip
    """The transpose of a sum over the cross is a sum over the cross: here queries are summed, and keys read."""
    bag, c, inside, at = _own_columns(N, C, BLOCK)
    shift = tl.load(shift_ptr + bag)
    columns = sum_columns(
        f_ptr, shift, a_ptr, b_ptr, planes_ptr, at, inside, N, C, QUERY, BLOCK, H, True
    )  # fmt: skip
    store_columns(columns_ptr, columns, bag, c, inside, C, H)
    columns = times_kernel(kernel_ptr, columns, BLOCK, H)
    parts = no_sums(10, BLOCK)
    for n in range(N):
        here, row = at + n * C, row_ptr + (bag * N + n) * (4 * H + 2)
        f = tl.load(f_ptr + here, mask=inside, other=0.0)
        cos, sin, _ = direction_of(f, planes_ptr, KEY)
        values, _, dvalues, dweights = read(cos, sin, row, columns, H)
        a = tl.load(a_ptr + here, mask=inside, other=0.0)
        b = tl.load(b_ptr + here, mask=inside, other=0.0)
        dtheta = tl.load(dtheta_ptr + here, mask=inside, other=0.0)
        dy = tl.load(dy_ptr + here, mask=inside, other=0.0)
        value = f - shift
        dphi = dvalues * value + dweights
        df, more = chained(f, value, a, b, values, dtheta, dphi, dy, inside, planes_ptr)
        tl.store(df_ptr + here, df, mask=inside)
        parts = added(parts, more)
    store_parts(parts_ptr, parts)


@triton.jit
def sta_bwd_product_kernel(
    parts_ptr, left_ptr, right_ptr, L, PER_PROGRAM,
    F: tl.constexpr, BLOCK_F: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One part of left [F, L] right^T of one bag: some columns at a time in float32, their sum in float64."""
    bag, split = tl.program_id(0).to(tl.int64), tl.program_id(1)
    i = tl.arange(0, BLOCK_F)
    total = tl.zeros((BLOCK_F, BLOCK_F), tl.float64)
    for first in range(split * PER_PROGRAM, min((split + 1) * PER_PROGRAM, L), BLOCK):
        c = first + tl.arange(0, BLOCK)
        inside = (i < F)[:, None] & (c < L)[None, :]
        at = (bag * F + i[:, None]) * L + c[None, :]
        left = tl.load(left_ptr + at, mask=inside, other=0.0)
        right = tl.load(right_ptr + at, mask=inside, other=0.0)
        total += tl.dot(left, tl.trans(right), input_precision="ieee").to(tl.float64)
    part = (bag * tl.num_programs(1) + split) * F * F
    inside = (i < F)[:, None] & (i < F)[None, :]
    tl.store(parts_ptr + part + i[:, None] * F + i[None, :], total, mask=inside)
