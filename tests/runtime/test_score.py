"""Score chains: golden values by hand, and streaming equal to the array form bit for bit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vadfast.errors import UsageError
from vadfast.runtime.manifest import (
    Calibration,
    Chain,
    Component,
    ComponentStatistics,
    ExponentialMean,
    MinMax,
    RobustZ,
)
from vadfast.runtime.score import ChainState, run_chain

PSNR = Component(name="psnr", unit="dB", high_is="normal")
DISTANCE = Component(name="distance", unit="1", high_is="abnormal")
CALIBRATION = Calibration(
    source="made",
    n_frames=10,
    components={
        "psnr": ComponentStatistics(median=30.0, scale=2.0),
        "distance": ComponentStatistics(median=0.5, scale=0.25),
    },
    score_quantiles={},
)
Z = RobustZ()


def _mean(half_life: float) -> ExponentialMean:
    return ExponentialMean(half_life_frames=half_life)


def test_minmax_turns_psnr_so_that_bad_prediction_is_high() -> None:
    chain = Chain(steps=(MinMax(),), weights={"psnr": 1.0})
    score = run_chain(chain, [PSNR], [[40.0], [30.0], [35.0]])
    assert score.tolist() == [0.0, 1.0, 0.5]


def test_minmax_of_a_constant_video_is_zero() -> None:
    chain = Chain(steps=(MinMax(),), weights={"psnr": 1.0})
    assert run_chain(chain, [PSNR], [[7.0]] * 3).tolist() == [0.0, 0.0, 0.0]


def test_robust_z_is_in_the_components_unit_before_its_sign_is_turned() -> None:
    chain = Chain(steps=(Z,), weights={"psnr": 1.0, "distance": 2.0})
    score = run_chain(chain, [PSNR, DISTANCE], [[26.0, 1.0]], CALIBRATION)
    assert score.tolist() == [(30.0 - 26.0) / 2.0 + 2.0 * (1.0 - 0.5) / 0.25]


def test_exponential_mean_halves_a_step_in_its_half_life() -> None:
    chain = Chain(steps=(_mean(3.0),), weights={"distance": 1.0})
    score = run_chain(chain, [DISTANCE], [[0.0]] + [[1.0]] * 6)
    np.testing.assert_allclose(score[[0, 3, 6]], [0.0, 0.5, 0.75], rtol=1e-12)


def test_no_frames_give_no_scores() -> None:
    chain = Chain(steps=(MinMax(), _mean(1.0)), weights={"distance": 1.0})
    assert run_chain(chain, [DISTANCE], np.empty((0, 1))).shape == (0,)


@given(
    x=hnp.arrays(
        np.float32,
        st.tuples(st.integers(0, 60), st.just(2)),
        elements=st.floats(-1e4, 1e4, width=32),
    ),
    half_life=st.floats(0.1, 100.0),
    weights=st.tuples(st.floats(-3, 3), st.floats(-3, 3)),
    order=st.permutations([0, 1]),
)
def test_streaming_gives_the_same_bits_as_the_array_form(
    x: np.ndarray, half_life: float, weights: tuple[float, float], order: list[int]
) -> None:
    steps = [(Z, _mean(half_life))[i] for i in order]
    chain = Chain(steps=tuple(steps), weights={"psnr": weights[0], "distance": weights[1]})
    state = ChainState(chain, [PSNR, DISTANCE], CALIBRATION)
    streamed = np.array([state.push(row) for row in x], np.float64)
    assert streamed.tobytes() == run_chain(chain, [PSNR, DISTANCE], x, CALIBRATION).tobytes()


@given(
    hnp.arrays(np.float64, st.tuples(st.integers(1, 40), st.just(1)), elements=st.floats(-1e6, 1e6))
)
def test_minmax_stays_between_zero_and_one_and_keeps_the_order(x: np.ndarray) -> None:
    score = run_chain(Chain(steps=(MinMax(),), weights={"distance": 1.0}), [DISTANCE], x)
    assert score.min() >= 0.0
    assert score.max() <= 1.0
    assert (np.diff(score[np.argsort(x[:, 0], kind="stable")]) >= 0).all()


def test_a_chain_that_needs_the_whole_video_does_not_stream() -> None:
    with pytest.raises(UsageError, match="minmax, which needs the whole video"):
        ChainState(Chain(steps=(MinMax(),), weights={"psnr": 1.0}), [PSNR])


def test_robust_z_without_calibration_is_refused_in_both_forms() -> None:
    chain = Chain(steps=(Z,), weights={"psnr": 1.0})
    with pytest.raises(UsageError, match="needs a calibration"):
        run_chain(chain, [PSNR], [[1.0]])
    with pytest.raises(UsageError, match="needs a calibration"):
        ChainState(chain, [PSNR])


def test_calibration_of_another_component_is_refused() -> None:
    other = Component(name="other", unit="1", high_is="abnormal")
    with pytest.raises(UsageError, match="must hold component 'other'"):
        ChainState(Chain(steps=(Z,), weights={"other": 1.0}), [other], CALIBRATION)


def test_a_weight_that_names_no_component_is_refused() -> None:
    with pytest.raises(UsageError, match="got 'pnsr'"):
        run_chain(Chain(steps=(), weights={"pnsr": 1.0}), [PSNR], [[1.0]])


def test_wrong_shapes_are_refused() -> None:
    chain = Chain(steps=(), weights={"psnr": 1.0})
    with pytest.raises(ValueError, match=r"\[n, 1\] \(psnr\), got \[3\]"):
        run_chain(chain, [PSNR], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match=r"must be \[1\], got \[2\]"):
        ChainState(chain, [PSNR]).push([1.0, 2.0])
