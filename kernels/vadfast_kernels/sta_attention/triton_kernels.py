"""STA's attention in linear time: a program owns some columns of a bag, and keeps their sums in registers.

The one decision to know: the features (2 n + 1 numbers an element) exist in registers only, made anew wherever they are needed from
one sine and one cosine. Sums over a row need all programs of the row, so they are kernels of their own; a sum over a column is
made by whoever reads it, and read by nobody else. So there is no atomic, and a result does not depend on how many programs run.

    forward     rows:   parts of the row sums of psi(phi) x (f, 1)           merge:  their total, and K times it
                mean
    backward    rows, merge, query:  dtheta, down, and d(sums) = (a, b)      of psi(phi) x (f, 1)
                rows, merge, key:    dphi, df                                of psi(theta) x (a, b)
                product:             parts of dK, of the columns

The gradients of the weights are sums that nearly cancel. Eager loses little of them, because it weighs differences f - mean; here f
is centred instead (the mean of a cross moves with f, its gradients do not), sums over a row are float64 beyond a few hundred
elements, and so is dK.
"""

import triton
import triton.language as tl

from vadfast_kernels.sta_attention.triton_circle import (
    no_sums,
    read,
    sources,
    store_columns,
    sum_columns,
    sums_so_far,
    times_kernel,
)


@triton.jit
def sta_rows_kernel(
    parts_ptr, t_ptr, a_ptr, b_ptr, C, PER_SPLIT,
    BLOCK: tl.constexpr, H: tl.constexpr, WEIGHTED: tl.constexpr,
):  # fmt: skip
    """One split's part of the sums of psi(t) x (a, b) over one row."""
    row, split = tl.program_id(0).to(tl.int64), tl.program_id(1)
    sums = no_sums(BLOCK, H)
    for first in range(split * PER_SPLIT, min((split + 1) * PER_SPLIT, C), BLOCK):
        c = first + tl.arange(0, BLOCK)
        inside = c < C
        t = tl.load(t_ptr + row * C + c, mask=inside, other=0.0)
        a, b = sources(a_ptr, b_ptr, row * C + c, inside, WEIGHTED)
        sums = sums_so_far(sums, t, a, b, H)
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
def sta_mean_kernel(
    mean_ptr, theta_ptr, phi_ptr, f_ptr, own_ptr, kernel_ptr, row_ptr, N, C,
    BLOCK: tl.constexpr, H: tl.constexpr,
):  # fmt: skip
    """The mean over the cross of each element of some columns of one bag."""
    bag = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside, at = c < C, bag * N * C + c
    columns = sum_columns(phi_ptr, f_ptr, f_ptr, at, inside, N, C, BLOCK, H, False)
    columns = times_kernel(kernel_ptr, columns, BLOCK, H)
    for n in range(N):
        here = at + n * C
        theta = tl.load(theta_ptr + here, mask=inside, other=0.0)
        top, bottom, _, _ = read(theta, row_ptr + (bag * N + n) * (4 * H + 2), columns, H)
        f = tl.load(f_ptr + here, mask=inside, other=0.0)
        own = tl.load(own_ptr + here, mask=inside, other=0.0)
        tl.store(mean_ptr + here, (top - own * f) / (bottom - own), mask=inside)


@triton.jit
def sta_bwd_query_kernel(
    dtheta_ptr, down_ptr, a_ptr, b_ptr, columns_ptr,
    theta_ptr, phi_ptr, f_ptr, own_ptr, dmean_ptr, kernel_ptr, row_ptr, N, C,
    BLOCK: tl.constexpr, H: tl.constexpr,
):  # fmt: skip
    """As the mean, from f centred; (a, b) is the gradient of both sums of an element: of values, and of weights."""
    bag = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside, at = c < C, bag * N * C + c
    columns = sum_columns(phi_ptr, f_ptr, f_ptr, at, inside, N, C, BLOCK, H, False)
    store_columns(columns_ptr, columns, bag, c, inside, C, H)
    columns = times_kernel(kernel_ptr, columns, BLOCK, H)
    for n in range(N):
        here = at + n * C
        theta = tl.load(theta_ptr + here, mask=inside, other=0.0)
        top, bottom, dtop, dbottom = read(theta, row_ptr + (bag * N + n) * (4 * H + 2), columns, H)
        f = tl.load(f_ptr + here, mask=inside, other=0.0)
        own = tl.load(own_ptr + here, mask=inside, other=0.0)
        total = bottom - own
        mean = (top - own * f) / total
        a = tl.load(dmean_ptr + here, mask=inside, other=0.0) / total
        tl.store(a_ptr + here, a, mask=inside)
        tl.store(b_ptr + here, -a * mean, mask=inside)
        tl.store(dtheta_ptr + here, a * (dtop - mean * dbottom), mask=inside)
        tl.store(down_ptr + here, a * (mean - f), mask=inside)


@triton.jit
def sta_bwd_key_kernel(
    dphi_ptr, df_ptr, columns_ptr,
    theta_ptr, phi_ptr, f_ptr, own_ptr, a_ptr, b_ptr, kernel_ptr, row_ptr, N, C,
    BLOCK: tl.constexpr, H: tl.constexpr,
):  # fmt: skip
    """The transpose of a sum over the cross is a sum over the cross: here queries are summed, and keys read."""
    bag = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside, at = c < C, bag * N * C + c
    columns = sum_columns(theta_ptr, a_ptr, b_ptr, at, inside, N, C, BLOCK, H, True)
    store_columns(columns_ptr, columns, bag, c, inside, C, H)
    columns = times_kernel(kernel_ptr, columns, BLOCK, H)
    for n in range(N):
        here = at + n * C
        phi = tl.load(phi_ptr + here, mask=inside, other=0.0)
        values, _, dvalues, dweights = read(phi, row_ptr + (bag * N + n) * (4 * H + 2), columns, H)
        f = tl.load(f_ptr + here, mask=inside, other=0.0)
        own = tl.load(own_ptr + here, mask=inside, other=0.0)
        a = tl.load(a_ptr + here, mask=inside, other=0.0)
        tl.store(df_ptr + here, values - a * own, mask=inside)
        tl.store(dphi_ptr + here, dvalues * f + dweights, mask=inside)


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
