"""``circle.py`` in registers: what the kernels of ``triton_kernels.py`` and ``triton_exact.py`` are made of.

A tuple holds the features of some elements, or the 2 (2 n + 1) sums of some lines: feature by feature, each of the two sources.
H is the number of harmonics, n; LINE says where among the ten numbers of ``circle.planes_of`` those of q, k or G begin.
"""

import triton
import triton.language as tl

QUERY, KEY, G = tl.constexpr(0), tl.constexpr(3), tl.constexpr(6)
_TINY = tl.constexpr(1.2e-38)  # the smallest float32 that has a reciprocal


@triton.jit
def direction_of(f, planes_ptr, LINE: tl.constexpr):
    """Cosine and sine of the angle of f w + b, and 1 / |f w + b|; where that is 0 the angle 0, and 0."""
    x = f * tl.load(planes_ptr + LINE) + tl.load(planes_ptr + LINE + 1)
    height = tl.load(planes_ptr + LINE + 2)
    largest = tl.maximum(tl.abs(x), tl.abs(height))
    nowhere = largest < _TINY
    # One factor for both: what it is off by turns nothing. By the larger first: the squares neither vanish nor overflow.
    inverse = 1.0 / tl.where(nowhere, 1.0, largest)
    x, y = tl.where(nowhere, 1.0, x * inverse), height * inverse
    square = x * x + y * y
    shorten = tl.rsqrt(square)
    shorten *= (
        1.5 - 0.5 * square * shorten * shorten
    )  # a GPU's own is off by 2 units in the last place
    return x * shorten, y * shorten, tl.where(nowhere, 0.0, inverse * shorten)


@triton.jit
def toward_keys(c, s, planes_ptr):
    """Returns z G for the cosine and sine of queries."""
    x = c * tl.load(planes_ptr + G) + s * tl.load(planes_ptr + G + 2)
    return x, c * tl.load(planes_ptr + G + 1) + s * tl.load(planes_ptr + G + 3)


@triton.jit
def toward_queries(c, s, planes_ptr):
    """Returns z G^T for the cosine and sine of keys."""
    x = c * tl.load(planes_ptr + G) + s * tl.load(planes_ptr + G + 1)
    return x, c * tl.load(planes_ptr + G + 2) + s * tl.load(planes_ptr + G + 3)


@triton.jit
def own_of(f, planes_ptr):
    """The exp of each element's cosine with itself: it is in the row and in the column, once too often."""
    c, s, _ = direction_of(f, planes_ptr, QUERY)
    x, y = toward_keys(c, s, planes_ptr)
    c, s, _ = direction_of(f, planes_ptr, KEY)
    return tl.exp(x * c + y * s)


@triton.jit
def chained(f, value, a, b, values, dtheta, dphi, dy, inside, planes_ptr):
    """The gradient of f, and each element's part of that of the ten numbers, a tuple; 0 outside.

    ``value`` is f as it was summed, (a, b) the gradient of both its sums, ``values`` that of ``value`` by the sums in which it is,
    dtheta and dphi those of its angles by all sums. What is missing is each element's own weight, and where angles come from.
    """
    qc, qs, q_inverse = direction_of(f, planes_ptr, QUERY)
    kc, ks, k_inverse = direction_of(f, planes_ptr, KEY)
    qx, qy = toward_keys(qc, qs, planes_ptr)
    kx, ky = toward_queries(kc, ks, planes_ptr)
    own = tl.exp(qx * kc + qy * ks)
    dcosine = -(b + a * value) * own
    dtheta = tl.where(inside, dtheta + dcosine * (qc * ky - qs * kx), 0.0) * q_inverse
    dphi = tl.where(inside, dphi + dcosine * (kc * qy - ks * qx), 0.0) * k_inverse
    dqx, dkx = -dtheta * qs, -dphi * ks
    df = values - a * own + dy
    df += dqx * tl.load(planes_ptr + QUERY) + dkx * tl.load(planes_ptr + KEY)
    x, y = dcosine * qc, dcosine * qs
    return df, (
        dqx * f, dqx, dtheta * qc, dkx * f, dkx, dphi * kc, x * kc, x * ks, y * kc, y * ks,
    )  # fmt: skip


@triton.jit
def added(parts, more):
    """Two tuples of ten numbers an element."""
    new = ()
    for i in tl.static_range(10):
        new += (parts[i] + more[i],)
    return new


@triton.jit
def store_parts(parts_ptr, parts):
    """A program's part of the ten numbers' gradient, float64."""
    part = tl.program_id(0).to(tl.int64) * tl.num_programs(1) + tl.program_id(1)
    for i in tl.static_range(10):
        tl.store(parts_ptr + part * 10 + i, tl.sum(parts[i].to(tl.float64), 0))


@triton.jit
def features(c, s, H: tl.constexpr):
    """The features psi of the angle with cosine c and sine s, a tuple: 1, cos t, sin t, ..., cos Ht, sin Ht, by the addition theorem."""
    psi = (tl.full(c.shape, 1.0, tl.float32), c, s)
    for m in tl.static_range(1, H):
        x, y = psi[2 * m - 1], psi[2 * m]
        psi += (x * c - y * s, y * c + x * s)
    return psi


@triton.jit
def sums_so_far(sums, c, s, a, b, H: tl.constexpr):
    """``sums`` and psi x (a, b), a tuple: feature by feature, a before b."""
    psi = features(c, s, H)
    new = ()
    for i in tl.static_range(2 * H + 1):
        new += (sums[2 * i] + psi[i] * a, sums[2 * i + 1] + psi[i] * b)
    return new


@triton.jit
def no_sums(COUNT: tl.constexpr, BLOCK: tl.constexpr):
    """What ``COUNT`` sums start from."""
    zero, sums = tl.zeros((BLOCK,), tl.float32), ()
    for _ in tl.static_range(COUNT):
        sums += (zero,)
    return sums


@triton.jit
def sources(f, shift, a_ptr, b_ptr, at, inside, WEIGHTED: tl.constexpr):
    """What is summed: (a, b), or without ``WEIGHTED`` (f - shift, 1); 0 outside."""
    if WEIGHTED:
        a = tl.load(a_ptr + at, mask=inside, other=0.0)
        b = tl.load(b_ptr + at, mask=inside, other=0.0)
    else:
        a, b = tl.where(inside, f - shift, 0.0), tl.where(inside, 1.0, 0.0)
    return a, b


@triton.jit
def sum_columns(
    f_ptr, shift, a_ptr, b_ptr, planes_ptr, at, inside, N, C,
    LINE: tl.constexpr, BLOCK: tl.constexpr, H: tl.constexpr, WEIGHTED: tl.constexpr,
):  # fmt: skip
    """Sums of psi x ``sources`` over each column."""
    sums = no_sums(4 * H + 2, BLOCK)
    for n in range(N):
        f = tl.load(f_ptr + at + n * C, mask=inside, other=0.0)
        c, s, _ = direction_of(f, planes_ptr, LINE)
        a, b = sources(f, shift, a_ptr, b_ptr, at + n * C, inside, WEIGHTED)
        sums = sums_so_far(sums, c, s, a, b, H)
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
def read(c, s, row_ptr, column, H: tl.constexpr):
    """Returns psi . (row + column) of both sources, and its derivatives by the angle."""
    psi = features(c, s, H)
    a, b = tl.load(row_ptr) + column[0], tl.load(row_ptr + 1) + column[1]
    da, db = tl.zeros(c.shape, tl.float32), tl.zeros(c.shape, tl.float32)
    for m in tl.static_range(1, H + 1):
        x, y = psi[2 * m - 1], psi[2 * m]
        ac, bc = tl.load(row_ptr + 4 * m - 2), tl.load(row_ptr + 4 * m - 1)
        as_, bs = tl.load(row_ptr + 4 * m), tl.load(row_ptr + 4 * m + 1)
        ac, bc = ac + column[4 * m - 2], bc + column[4 * m - 1]
        as_, bs = as_ + column[4 * m], bs + column[4 * m + 1]
        a += x * ac + y * as_
        b += x * bc + y * bs
        da += m * (x * as_ - y * ac)
        db += m * (x * bs - y * bc)
    return a, b, da, db
