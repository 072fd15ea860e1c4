"""The score chain of a camera against plain Python and what the runtime makes of it, and the bits of both chains against C's."""

import doctest

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


@pytest.mark.parametrize("length", [3, 9, 17, 40, 301])
def test_no_overflow_leaves_a_chain(length: int) -> None:
    """What would be infinite is cut to 1e300; so no NaN comes of it, for which the ways to a median would have orders of their own."""
    steps = [RobustZ(0.0, 1e-300), Savgol(9, 3), ExponentialMean(2.0), Gaussian(), Median(length)]
    x = np.random.default_rng(0).choice([-1e300, 1e300, 1.0], (900, 1))
    together, apart = (Chain(1, [Branch(0, steps)]) for _ in range(2))
    found = together.push(x)
    assert (np.abs(found) <= 1e300 * (1 + 1e-12)).all()
    assert [apart.push(row[None])[0] for row in x] == found.tolist()


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
