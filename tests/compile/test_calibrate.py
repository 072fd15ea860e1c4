"""Calibration: robust against outliers, the chain's own scores, a rule that would not have alarmed on what it saw."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.compile.tiny import CARD, SPEC, FilmSource, TinyScorer, film
from vadfast.compile.calibrate import calibrate, score_normal, statistics
from vadfast.compile.windows import Tail
from vadfast.errors import UsageError
from vadfast.models.eager import EagerEngine
from vadfast.progress import steps
from vadfast.runtime.score import run_chain


def _normal(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(32, 0.5, (n, 1)).astype(np.float32)


def test_statistics_are_robust_median_and_sigma() -> None:
    values = _normal(4000)
    values[:200] = 5  # one frame in twenty is broken
    found = statistics(values, CARD.components)["psnr"]
    assert found.median == pytest.approx(32, abs=0.1)
    assert found.scale == pytest.approx(0.5, rel=0.15)


def test_the_threshold_is_a_quantile_of_the_causal_score_per_video() -> None:
    parts = [_normal(300, 1), _normal(500, 2)]
    calibration, rule = calibrate(parts, CARD.components, CARD.causal_chain, source="test")
    scores = np.concatenate(
        [run_chain(CARD.causal_chain, CARD.components, p, calibration) for p in parts]
    )
    assert calibration.n_frames == 800
    assert rule.threshold == calibration.score_quantiles["0.995"] == np.quantile(scores, 0.995)
    assert rule.clear_threshold == calibration.score_quantiles["0.95"] < rule.threshold
    assert (rule.raise_count, rule.raise_window, rule.clear_count) == (3, 5, 10)
    assert list(calibration.score_quantiles.values()) == sorted(
        calibration.score_quantiles.values()
    )
    assert np.mean(scores > rule.threshold) <= 0.005


@given(st.floats(0.5, 20), st.floats(-50, 50))
def test_the_causal_score_has_no_unit(gain: float, offset: float) -> None:
    part = _normal(60).astype(np.float64)
    a, _ = calibrate([part.astype(np.float32)], CARD.components, CARD.causal_chain, source="a")
    b, _ = calibrate(
        [(part * gain + offset).astype(np.float32)], CARD.components, CARD.causal_chain, source="b"
    )
    for quantile, value in a.score_quantiles.items():
        assert b.score_quantiles[quantile] == pytest.approx(value, abs=1e-2)


def test_too_little_video_is_refused_with_the_numbers() -> None:
    with pytest.raises(
        UsageError, match="at least 50 scored frames of normal video, got 12 from the garage"
    ):
        calibrate([_normal(12)], CARD.components, CARD.causal_chain, source="the garage")
    with pytest.raises(UsageError, match="got 0 from"):
        calibrate([], CARD.components, CARD.causal_chain, source="nothing")


def test_a_frozen_camera_is_refused() -> None:
    with pytest.raises(UsageError, match="psnr must vary on normal video, got 30 dB"):
        calibrate(
            [np.full((99, 1), 30, np.float32)], CARD.components, CARD.causal_chain, source="x"
        )


def test_only_the_held_out_frames_are_scored(scorer: TinyScorer) -> None:
    images = film(40, seed=0)
    engine = EagerEngine(scorer, SPEC)
    with steps("calibration", 10) as bar:
        tails = [Tail(FilmSource("a", images), 30), Tail(FilmSource("short", images), 39)]
        (part,) = score_normal(engine, SPEC, tails, bar)
    wanted = [engine(images[None, i - 2 : i + 1]).components[0] for i in range(32, 40)]
    np.testing.assert_array_equal(part, wanted)
