"""``circle.py`` in registers: what the kernels of ``triton_kernels.py`` are made of.

A tuple holds the features of some elements, or the 2 (2 n + 1) sums of some lines: feature by feature, each of the two sources.
H is the number of harmonics, n.
"""

import triton
import triton.language as tl


@triton.jit
def cos_sin(t):
    """Both in some 25 instructions, within 2 units in the last place for a few turns, 1e-7 for a thousand.

    Triton's own branch for angles that are larger still, through memory; ours are within half a turn of 0.
    """
    quarter = tl.floor(t * 0.6366197723675814 + 0.5)
    # pi / 2 in three parts, the first two so short that their products are exact (Cody and Waite).
    r = ((t - quarter * 1.5703125) - quarter * 4.837512969970703125e-4) - quarter * 7.54978995489e-8
    z = r * r
    # Cephes, sinf.c: minimax on an eighth of a turn to either side.
    s = ((-1.9515295891e-4 * z + 8.3321608736e-3) * z - 1.6666654611e-1) * z * r + r
    c = ((2.443315711809948e-5 * z - 1.388731625493765e-3) * z + 4.166664568298827e-2) * z * z
    c = c - 0.5 * z + 1.0
    turn = quarter.to(tl.int32)
    c, s = tl.where((turn & 1) == 0, c, s), tl.where((turn & 1) == 0, s, c)
    return tl.where(((turn + 1) & 2) == 0, c, -c), tl.where((turn & 2) == 0, s, -s)


@triton.jit
def features(t, H: tl.constexpr):
    """psi(t), a tuple: 1, cos t, sin t, ..., cos Ht, sin Ht, by the addition theorem."""
    c, s = cos_sin(t)
    psi = (tl.full(t.shape, 1.0, tl.float32), c, s)
    for m in tl.static_range(1, H):
        x, y = psi[2 * m - 1], psi[2 * m]
        psi += (x * c - y * s, y * c + x * s)
    return psi


@triton.jit
def sums_so_far(sums, t, a, b, H: tl.constexpr):
    """``sums`` and psi(t) x (a, b), a tuple: feature by feature, a before b."""
    psi = features(t, H)
    new = ()
    for i in tl.static_range(2 * H + 1):
        new += (sums[2 * i] + psi[i] * a, sums[2 * i + 1] + psi[i] * b)
    return new


@triton.jit
def no_sums(BLOCK: tl.constexpr, H: tl.constexpr):
    """What sums start from."""
    zero, sums = tl.zeros((BLOCK,), tl.float32), ()
    for _ in tl.static_range(4 * H + 2):
        sums += (zero,)
    return sums


@triton.jit
def sources(a_ptr, b_ptr, at, inside, WEIGHTED: tl.constexpr):
    """What is summed: (a, b), or without ``WEIGHTED`` (a, 1); 0 outside."""
    a = tl.load(a_ptr + at, mask=inside, other=0.0)
    b = tl.load(b_ptr + at, mask=inside, other=0.0) if WEIGHTED else tl.where(inside, 1.0, 0.0)
    return a, b


@triton.jit
def sum_columns(
    t_ptr, a_ptr, b_ptr, at, inside, N, C,
    BLOCK: tl.constexpr, H: tl.constexpr, WEIGHTED: tl.constexpr,
):  # fmt: skip
    """Sums of psi(t) x (a, b) over each column."""
    sums = no_sums(BLOCK, H)
    for n in range(N):
        t = tl.load(t_ptr + at + n * C, mask=inside, other=0.0)
        a, b = sources(a_ptr, b_ptr, at + n * C, inside, WEIGHTED)
        sums = sums_so_far(sums, t, a, b, H)
    return sums


@triton.jit
def store_columns(columns_ptr, columns, bag, c, inside, C, H: tl.constexpr):
    """Keeps the sums of some columns [2n + 1, 2, C] for the gradient of K."""
    for i in tl.static_range(4 * H + 2):
        tl.store(columns_ptr + (bag * (4 * H + 2) + i) * C + c, columns[i], mask=inside)


@triton.jit
def times_kernel(kernel_ptr, sums, BLOCK: tl.constexpr, H: tl.constexpr):
    """K times ``sums``."""
    zero, product = tl.zeros((BLOCK,), tl.float32), ()
    for i in tl.static_range(2 * H + 1):
        a, b = zero, zero
        for j in tl.static_range(2 * H + 1):
            k = tl.load(kernel_ptr + i * (2 * H + 1) + j)
            a += k * sums[2 * j]
            b += k * sums[2 * j + 1]
        product += (a, b)
    return product


@triton.jit
def read(t, row_ptr, column, H: tl.constexpr):
    """psi(t) . (row + column) of both sources, and its derivatives by t."""
    psi = features(t, H)
    a, b = tl.load(row_ptr) + column[0], tl.load(row_ptr + 1) + column[1]
    da, db = tl.zeros(t.shape, tl.float32), tl.zeros(t.shape, tl.float32)
    for m in tl.static_range(1, H + 1):
        c, s = psi[2 * m - 1], psi[2 * m]
        ac, bc = tl.load(row_ptr + 4 * m - 2), tl.load(row_ptr + 4 * m - 1)
        as_, bs = tl.load(row_ptr + 4 * m), tl.load(row_ptr + 4 * m + 1)
        ac, bc = ac + column[4 * m - 2], bc + column[4 * m - 1]
        as_, bs = as_ + column[4 * m], bs + column[4 * m + 1]
        a += c * ac + s * as_
        b += c * bc + s * bs
        da += m * (c * as_ - s * ac)
        db += m * (c * bs - s * bc)
    return a, b, da, db
