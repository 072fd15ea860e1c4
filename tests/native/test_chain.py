"""The score chain against NumPy and SciPy on whole videos, and against plain Python and ``vadfast.runtime.score`` on a camera."""

import doctest
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from vadfast_kernels import _native
from vadfast_kernels.score_chain import native, reference
from vadfast_kernels.score_chain.native import (
    Branch,
    Chain,
    ExponentialMean,
    Gaussian,
    Median,
    RobustZ,
    Savgol,
)

from vadfast.runtime import manifest
from vadfast.runtime.score import ChainState, run_chain

if (reason := _native.refusal()) is not None:
    pytest.skip(f"no compiled module: it {reason}", allow_module_level=True)

VALUES = st.floats(-1e6, 1e6, allow_subnormal=False)
VIDEOS = st.integers(1, 400).flatmap(lambda n: arrays(np.float64, n, elements=VALUES))
# A weighted sum of n values in float64 is off by n roundings of their size.
EPSILON = 2.0**-52


def _assert_close(found: np.ndarray, wanted: np.ndarray, x: np.ndarray, roundings: float) -> None:
    assert np.abs(found - wanted).max(initial=0) <= roundings * EPSILON * np.abs(x).max(initial=0)


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
            _assert_close(native.savgol(x, length, 2), reference.savgol(x, length, 2), x, 1e4)


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
        (lambda x: native.minmax(x, out=np.zeros(31)), ValueError, "out must be writable and"),
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


# ------------------------------------------------------------------------------------------------ chain of a camera

STEPS = st.one_of(
    st.builds(RobustZ, st.floats(-100, 100), st.floats(0.01, 100)),
    st.builds(ExponentialMean, st.floats(0.1, 200)),
    st.builds(Savgol, st.integers(4, 40), st.integers(0, 3)),
    st.builds(Median, st.integers(1, 300)),
    st.builds(Gaussian, st.integers(0, 20).map(lambda n: 2 * n + 1), st.floats(0.2, 20)),
)
SIGNS = st.sampled_from([-1.0, 1.0])
BRANCHES = st.lists(
    st.builds(Branch, st.integers(0, 2), st.lists(STEPS, max_size=3), st.floats(-2, 2), SIGNS),
    max_size=3,
)


@given(BRANCHES, st.integers(0, 60), st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_a_chain_is_the_plain_python_one(branches: list[Branch], n: int, seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=(n, 3)) * 10
    found, wanted = Chain(3, branches).push(x), reference.chain(branches, x)
    # Three steps that divide by 0.01 may enlarge 140 to 1.4e8; SciPy's one-sided cubic is off by 1e-11 of that.
    size = np.abs(wanted).max(initial=0)
    assert np.abs(found - wanted).max(initial=0) <= 1e-9 * max(size, 1.0) * _enlargement(branches)


def _enlargement(branches: list[Branch]) -> float:
    """How much a chain may enlarge a rounding: by 1 / scale of each robust z."""
    factors = [[1 / step.scale for step in b.steps if isinstance(step, RobustZ)] for b in branches]
    return max((float(np.prod(np.maximum(f, 1))) for f in factors), default=1.0)


@given(BRANCHES, st.lists(st.integers(0, 700), max_size=8), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_frames_one_by_one_or_together_give_the_same_bits(
    branches: list[Branch], cuts: list[int], seed: int
) -> None:
    x = np.random.default_rng(seed).normal(size=(700, 3))
    together, apart = Chain(3, branches), Chain(3, branches)
    wanted = together.push(x)
    parts = np.split(x, sorted(cuts))
    found = [apart.push(np.ascontiguousarray(part)) for part in parts]
    assert (np.concatenate(found) == wanted).all()
    apart.reset()
    assert all(apart.push(x[i : i + 1])[0] == wanted[i] for i in range(300))


@given(
    st.floats(-1e3, 1e3),
    st.floats(1e-3, 1e3),
    st.floats(1e-3, 1e4),
    st.floats(-3, 3),
    arrays(np.float64, (50, 2), elements=st.floats(-1e6, 1e6)),
)
@settings(max_examples=100, deadline=None)
def test_the_runtimes_chain_to_the_last_bit(
    median: float, scale: float, half_life: float, weight: float, x: np.ndarray
) -> None:
    """Of the plain Python chain, which was the runtime's own; and the runtime passes on what it is told, frame by frame and as a table."""
    spec = (
        manifest.Component(name="psnr", unit="dB", high_is="normal"),
        manifest.Component(name="distance", unit="1", high_is="abnormal"),
    )
    rule = manifest.Chain(
        steps=(manifest.RobustZ(), manifest.ExponentialMean(half_life_frames=half_life)),
        weights={"distance": weight, "psnr": 1.0},
    )
    known = {
        "psnr": manifest.ComponentStatistics(median=median, scale=scale),
        "distance": manifest.ComponentStatistics(median=0.25, scale=3.0),
    }
    calibration = manifest.Calibration(
        source="made", n_frames=1, components=known, score_quantiles={}
    )
    smooth = ExponentialMean(half_life)
    branches = [
        Branch(1, [RobustZ(0.25, 3.0), smooth], weight, 1.0),
        Branch(0, [RobustZ(-median, scale), smooth], 1.0, -1.0),
    ]
    ours = Chain(2, branches).push(x)
    assert ours.tolist() == reference.chain(branches, x).tolist()
    state = ChainState(rule, spec, calibration)
    assert ours.tolist() == [state.push(row) for row in x]
    assert ours.tolist() == run_chain(rule, spec, x, calibration).tolist()


@pytest.mark.parametrize(
    ("branch", "sentence"),
    [
        (Branch(2), "branch 0: column must be 0 ... 1, got 2"),
        (Branch(-1), "column must be 0 ... 1, got -1"),
        (Branch(0, sign=0.5), "sign must be 1, or -1"),
        (Branch(0, weight=np.nan), "weight must be finite"),
        (Branch(0, [RobustZ(0.0, 0.0)]), r"step 0 of branch 0: b \(the scale of robust_z\)"),
        (Branch(0, [RobustZ(np.inf, 1.0)]), r"a \(the median of robust_z\) must be finite"),
        (Branch(0, [Median(3), ExponentialMean(0.0)]), r"step 1 of branch 0: a \(the half-life"),
        (Branch(0, [Savgol(5, 5)]), "order must be 0 ... 9 and below length, got 5"),
        (Branch(0, [Savgol(0, 0)]), "length must be 1 ... 1023 frames, got 0"),
        (Branch(0, [Median(1024)]), "length must be 1 ... 1023 frames, got 1024"),
        (Branch(0, [Gaussian(4)]), "length of gaussian must be odd, got 4"),
        (Branch(0, [Gaussian(5, -1.0)]), r"a \(the width of gaussian\) must be above 0"),
        (Branch(0, [Median(3)] * 65), "n_steps must be 0 ... 64, got 65"),
    ],
)
def test_a_chain_that_cannot_be_right(branch: Branch, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Chain(2, [branch])


def test_a_frame_that_is_not_finite_leaves_the_chain_as_it_was() -> None:
    chain, twin = (Chain(2, [Branch(1, [ExponentialMean(5.0), Median(5)])]) for _ in range(2))
    x = np.random.default_rng(0).normal(size=(20, 2))
    chain.push(x)
    twin.push(x)
    bad = x.copy()
    bad[19, 0] = np.nan
    with pytest.raises(ValueError, match=r"components\[19, 0\] must be finite"):
        chain.push(bad)
    assert (chain.push(x) == twin.push(x)).all()
    with pytest.raises(ValueError, match=r"components must be \[n, 2\], got float64 \[20, 1\]"):
        chain.push(np.ascontiguousarray(x[:, :1]))


def test_the_bits_are_those_of_c() -> None:
    """Values made of integers only; csrc/tests/score_test.cpp has the same sums from C, sanitized and not."""
    i = np.arange(1, 5_001, dtype=np.float64)
    x = (i * 7919 % 10_007) / 1024 + (i * 104_729 % 1_009) ** 2 / 65_536
    video = native.savgol(native.gaussian(native.minmax(x)))
    live = Chain(1, [Branch(0, [RobustZ(3.0, 0.7), Savgol(), Gaussian(), Median()])]).push(
        x.reshape(-1, 1)
    )
    assert _fnv(video) == "f568f33dddceecc0"
    assert _fnv(native.median(video)) == "406e1b575a19b5f4"
    assert _fnv(live) == "208e38d74e5abeaf"


def _fnv(values: np.ndarray) -> str:
    total = 0xCBF29CE484222325
    for byte in values.astype("<f8").tobytes():
        total = (total ^ byte) * 0x100000001B3 % 2**64
    return f"{total:016x}"


def test_the_example_runs() -> None:
    assert doctest.testmod(native).attempted > 0
    assert doctest.testmod(native).failed == 0
