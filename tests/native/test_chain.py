"""The score chain of whole videos against NumPy and SciPy: values, seams between blocks, the same memory, every refusal."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from vadfast_kernels import _native
from vadfast_kernels.score_chain import native, reference

if (reason := _native.refusal()) is not None:
    pytest.skip(f"no compiled module: it {reason}", allow_module_level=True)

VALUES = st.floats(-1e6, 1e6, allow_subnormal=False)
VIDEOS = st.integers(1, 400).flatmap(lambda n: arrays(np.float64, n, elements=VALUES))
# A weighted sum of n values in float64 is off by n roundings of their size.
EPSILON = 2.0**-52


def _assert_close(found: np.ndarray, wanted: np.ndarray, x: np.ndarray, roundings: float) -> None:
    assert np.abs(found - wanted).max(initial=0) <= roundings * EPSILON * np.abs(x).max(initial=0)


def _savgol(x: np.ndarray, length: int, order: int) -> np.ndarray:
    """In long double, by orthonormal polynomials."""
    half = length // 2
    t = (np.arange(length, dtype=np.longdouble) - half) / half
    basis: list[np.ndarray] = []
    for degree in range(order + 1):
        p = t**degree
        for _ in range(2):  # once leaves what rounding left
            for known in basis:
                p = p - known * (known @ p)
        basis.append(p / np.sqrt(p @ p))
    q, values = np.stack(basis, axis=1), x.astype(np.longdouble)
    middle = np.lib.stride_tricks.sliding_window_view(values, length) @ (q @ q[half])
    head, tail = q @ (q.T @ values[:length]), q @ (q.T @ values[-length:])
    return np.concatenate([head[:half], middle, tail[half + 1 :]])


# ------------------------------------------------------------------------------------------------ whole videos


@given(VIDEOS)
@settings(max_examples=60, deadline=None)
def test_minmax_is_the_reference_bit_for_bit(x: np.ndarray) -> None:
    assert (native.minmax(x) == reference.minmax(x)).all()


@given(VIDEOS, st.integers(0, 40), st.floats(0.05, 50))
@settings(max_examples=60, deadline=None)
def test_gaussian_is_scipys(x: np.ndarray, half: int, sigma: float) -> None:
    n_taps = 2 * half + 1
    wanted = reference.gaussian(x, n_taps, sigma)
    _assert_close(native.gaussian(x, n_taps, sigma), wanted, x, 4 * n_taps)


@given(VIDEOS, st.integers(0, 20), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_savgol_is_scipys(x: np.ndarray, half: int, order: int) -> None:
    length = 2 * half + 1
    if length > len(x) or order >= length:
        with pytest.raises(ValueError, match=r"vad_savgol: (n|order) must be"):
            native.savgol(x, length, order)
        return
    # SciPy's own error is the larger one: it solves with powers of the place, to the fifth.
    _assert_close(
        native.savgol(x, length, order), reference.savgol(x, length, order), x, 1e4 * length
    )


@given(VIDEOS, st.integers(0, 300))
@settings(max_examples=80, deadline=None)
def test_median_is_scipys_bit_for_bit(x: np.ndarray, half: int) -> None:
    assert (native.median(x, 2 * half + 1) == reference.median(x, 2 * half + 1)).all()


@pytest.mark.parametrize("n", [1, 15, 16, 17, 40, 300])
def test_every_short_median_has_its_way(n: int) -> None:
    """Each length has a network of its own, or lanes, or bisection where the video is shorter than a window."""
    random = np.random.default_rng(n)
    for length in range(1, 60, 2):
        for x in (
            random.normal(size=n),
            random.integers(-1, 2, n) * 1.0,
            np.sort(random.normal(size=n)),
        ):
            assert (native.median(x, length) == reference.median(x, length)).all(), length


@pytest.mark.parametrize("length", [3, 17, 127, 253, 255, 257, 1023])
@pytest.mark.parametrize("n", [1, 255, 2047, 2048, 2049, 6000])
def test_blocks_leave_no_seam(n: int, length: int) -> None:
    random = np.random.default_rng(n + length)
    for x in (random.normal(size=n), random.integers(0, 4, n).astype(float), np.zeros(n)):
        assert (native.median(x, length) == reference.median(x, length)).all()
        _assert_close(native.gaussian(x, length, 9.0), reference.gaussian(x, length, 9.0), x, 99)
        if n >= length:
            # Not SciPy's, whose fit of the ends is off by up to 17,000 roundings, by how much depending on the CPU.
            _assert_close(native.savgol(x, length, 2), _savgol(x, length, 2), x, 99)


def test_orders_up_to_nine_keep_a_polynomial() -> None:
    """A polynomial of the order of the fit comes back, at the ends too: powers of the place would have lost it."""
    place = np.linspace(-1, 1, 2000)
    for order in range(10):
        x = np.polynomial.chebyshev.chebval(place, np.ones(order + 1))
        _assert_close(native.savgol(x, 1023, order), x, x, 2000)


FORMS: dict[str, Callable[..., np.ndarray]] = {
    "minmax": native.minmax,
    "gaussian": native.gaussian,
    "savgol": native.savgol,
    "median": native.median,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("n", [21, 100, 5000])
def test_out_may_be_x(form: str, n: int) -> None:
    x = np.random.default_rng(n).normal(size=n)
    wanted = FORMS[form](x)
    assert FORMS[form](x, out=x) is x
    assert (x == wanted).all()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e301])
def test_a_value_that_is_not_finite_is_named_and_nothing_written(form: str, bad: float) -> None:
    x = np.ones(3000)
    x[2500] = bad
    out = np.full(3000, 7.0)
    with pytest.raises(ValueError, match=rf"vad_{form}: x\[2500\] must be finite"):
        FORMS[form](x, out=out)
    assert (out == 7).all()


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda x: native.gaussian(x, 4), ValueError, "n_taps must be odd and 1 ... 1023, got 4"),
        (lambda x: native.gaussian(x, 1025), ValueError, "n_taps must be odd"),
        (lambda x: native.gaussian(x, 3, 0.0), ValueError, "sigma must be above 0 and finite"),
        (lambda x: native.gaussian(x, 3, np.nan), ValueError, "sigma must be above 0 and finite"),
        (lambda x: native.median(x, 0), ValueError, "length must be odd"),
        (lambda x: native.median(x, -3), ValueError, "length must be odd"),
        (lambda x: native.savgol(x, 5, 5), ValueError, "order must be 0 ... 4 for length 5, got 5"),
        (lambda x: native.savgol(x, 31, -1), ValueError, "order must be 0 ... 9"),
        (lambda x: native.savgol(x, 41), ValueError, "n must be at least length = 41"),
        (lambda x: native.minmax(x.astype(np.float32)), TypeError, "x must be float64"),
        (lambda x: native.minmax(x[::2]), ValueError, "x must be contiguous"),
        (lambda x: native.minmax(x.reshape(2, 16)), ValueError, "have 1 dimension"),
        (lambda x: native.minmax(list(x)), TypeError, "x must be an array"),
        (
            lambda x: native.minmax(x, out=np.zeros(31)),
            ValueError,
            r"out must be float64 \[32\] like x",
        ),
        (lambda x: native.median(x[:-1], 3, out=x[1:]), ValueError, "out must be x itself or not"),
    ],
)
def test_refusals(call: Callable[[Any], Any], error: type[Exception], sentence: str) -> None:
    x = np.arange(32.0)
    with pytest.raises(error, match=sentence):
        call(x)
    assert (x == np.arange(32.0)).all()


def test_an_empty_video_is_empty() -> None:
    for form in (native.minmax, native.gaussian, native.median):
        assert form(np.empty(0)).shape == (0,)
