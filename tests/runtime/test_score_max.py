"""Chains that take the larger of their components instead of the sum: an array at once and frame by frame."""

import numpy as np
import pytest
from pydantic import ValidationError

from vadfast.errors import UsageError
from vadfast.models import mtl
from vadfast.runtime.manifest import (
    Calibration,
    Chain,
    Component,
    ComponentStatistics,
    MinMax,
    RobustZ,
    SavitzkyGolay,
)
from vadfast.runtime.score import ChainState, run_chain

A, B = (Component(name=name, unit="sd", high_is="abnormal") for name in "ab")
PSNR = Component(name="psnr", unit="dB", high_is="normal")
CALIBRATION = Calibration(
    source="made",
    n_frames=9,
    components={
        "a": ComponentStatistics(median=0.5, scale=0.25),
        "b": ComponentStatistics(median=-1.0, scale=3.0),
        "psnr": ComponentStatistics(median=30.0, scale=2.0),
    },
    score_quantiles={},
)


def test_either_component_raises_the_score() -> None:
    chain = Chain(steps=(), weights={"a": 1.0, "b": 2.0}, combine="max")
    assert run_chain(chain, [A, B], [[1, 0], [0, 1], [-3, -2]]).tolist() == [1.0, 2.0, -3.0]
    summed = chain.model_copy(update={"combine": "sum"})
    assert run_chain(summed, [A, B], [[1, 0], [0, 1], [-3, -2]]).tolist() == [1.0, 2.0, -7.0]


def test_each_component_is_minmaxed_before_the_larger_is_taken() -> None:
    chain = Chain(steps=(MinMax(),), weights={"a": 1.0, "psnr": 1.0}, combine="max")
    score = run_chain(chain, [A, PSNR], [[0, 30], [2, 40], [1, 34]])
    assert score.tolist() == [1.0, 1.0, 0.6]


@pytest.mark.parametrize("seed", range(5))
def test_streaming_gives_the_bits_of_the_array(seed: int) -> None:
    rng = np.random.default_rng(seed)
    chain = Chain(
        steps=(RobustZ(), SavitzkyGolay(length=7, order=2, side="past")),
        weights={"a": 1.0, "psnr": 0.7, "b": -0.0},
        combine="max",
    )
    spec = [PSNR, A, B]
    x = np.array([30.0, 0.0, 0.0]) + rng.normal(0, 3, (60, 3))
    x[::7, 1] = 0.5  # a score of exactly 0, and -0 by the weight of b
    state = ChainState(chain, spec, CALIBRATION)
    streamed = np.array([state.push(row) for row in x])
    assert streamed.tobytes() == run_chain(chain, spec, x, CALIBRATION).tobytes()


def test_what_is_not_causal_or_has_no_component_is_refused() -> None:
    chain = mtl.meaning(mtl.MTLConfig()).paper_chain
    spec = mtl.meaning(mtl.MTLConfig()).components
    with pytest.raises(UsageError, match=r"a causal chain must hold live steps .* savitzky_golay"):
        ChainState(chain, spec)
    with pytest.raises(ValidationError, match="must have the weight of one component"):
        Chain(steps=(), weights={}, combine="max")
    with pytest.raises(ValidationError, match="sum"):
        Chain.model_validate({"steps": (), "weights": {"a": 1.0}, "combine": "mean"})


def test_the_papers_chain_is_that_of_scipy() -> None:
    from scipy.signal import savgol_filter

    x = np.random.default_rng(0).normal(0, 1, (50, 2))
    said = mtl.meaning(mtl.MTLConfig())
    wanted = savgol_filter(x, 21, 2, axis=0, mode="interp").max(axis=1)
    np.testing.assert_allclose(run_chain(said.paper_chain, said.components, x), wanted, atol=1e-12)


def test_chains_of_before_sum() -> None:
    chain = Chain.model_validate({"steps": [], "weights": {"a": 1.0}})
    assert chain.combine == "sum"
