"""Thresholds by false alarms: on made scores as long as needed, an alert raises as many as were asked for."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import genpareto

from tests.compile.tiny import CARD
from vadfast.compile.calibrate import calibrate
from vadfast.compile.false_alarms import (
    MIN_PEAKS,
    PEAKS_FOR_A_SHAPE,
    alarms_per_frame,
    expected,
    fit_tail,
    most_peaks,
    n_peaks,
    parse_rate,
    threshold_of,
)
from vadfast.compile.report import false_alarm_words
from vadfast.errors import UsageError
from vadfast.runtime.alert import Alert
from vadfast.runtime.manifest import AlertRule, Tail

RULE = AlertRule(threshold=3, clear_threshold=1.6, raise_count=3, raise_window=5, clear_count=10)
FPS = 10.0
Scores = npt.NDArray[np.float64]


def _normal(n: int, seed: int) -> Scores:
    """Correlated noise with an exponential tail, as scores of neighbouring frames are."""
    rng = np.random.default_rng(seed)
    noise = rng.exponential(size=n + 8)
    return np.convolve(noise, np.ones(8) / 8, "valid")[:n]


def _n_alarms(scores: Scores, rule: AlertRule) -> int:
    alert = Alert(rule)
    events = [alert.push(float(s), t, t / FPS) for t, s in enumerate(scores)]
    return sum(event is not None and event.kind == "start" for event in events)


def test_a_threshold_raises_about_as_many_alarms_as_were_asked_for() -> None:
    calibrated_on = [_normal(5_000, seed) for seed in range(8)]
    tail = fit_tail(calibrated_on, RULE)
    assert tail is not None
    assert tail.n_peaks >= PEAKS_FOR_A_SHAPE
    assert tail.shape != 0
    wanted = 1 / 10_000
    rule = RULE.model_copy(update={"threshold": threshold_of(tail, wanted)})
    n_frames = 400_000
    found = _n_alarms(_normal(n_frames, 99), rule)
    assert 20 < found < 80, "40 were asked for, and chance makes a standard deviation of 6"
    seen = expected(calibrated_on, rule, tail, FPS)
    assert seen.lo < found / n_frames * FPS * 86400 < seen.hi
    assert seen.lo < seen.per_day < seen.hi
    assert seen.per_day == pytest.approx(wanted * FPS * 86400)
    assert seen.hours_seen == pytest.approx(40_000 / FPS / 3600)


def test_peaks_at_the_level_are_the_events_of_an_alert_at_the_level() -> None:
    parts = [_normal(2_000, seed) for seed in range(3)]
    tail = fit_tail(parts, RULE)
    assert tail is not None
    at_level = RULE.model_copy(
        update={"threshold": tail.level, "clear_threshold": min(1.6, tail.level)}
    )
    assert tail.n_peaks == sum(_n_alarms(part, at_level) for part in parts)


@given(
    st.floats(-10, 10), st.floats(0.01, 10), st.floats(-0.5, 0.5) | st.just(0.0), st.floats(1e-9, 1)
)
def test_threshold_and_rate_are_inverse(
    level: float, scale: float, shape: float, part: float
) -> None:
    if 0 < abs(shape) < 1e-3:
        shape = 0.0  # beyond the precision of a float
    tail = Tail(level=level, scale=scale, shape=shape, n_peaks=9, peaks_per_frame=0.01)
    threshold = threshold_of(tail, 0.01 * part)
    assert threshold >= level - 1e-9
    assert alarms_per_frame(tail, threshold) == pytest.approx(0.01 * part, rel=1e-4)
    survival = genpareto.sf(threshold - level, shape, scale=scale)
    assert alarms_per_frame(tail, threshold) == pytest.approx(0.01 * survival, rel=1e-6, abs=1e-15)


def test_few_peaks_have_no_shape_and_too_few_no_tail() -> None:
    few = fit_tail([_normal(1_500, 1)], RULE)
    assert few is not None
    assert MIN_PEAKS <= few.n_peaks < PEAKS_FOR_A_SHAPE
    assert few.shape == 0
    assert fit_tail([_normal(100, 1)], RULE) is None


@given(
    st.lists(st.integers(1, 300), min_size=1, max_size=6),
    st.integers(0, 99),
    st.sampled_from([1, 4]),
)
def test_no_scores_peak_more_often_than_their_number_allows(
    lengths: list[int], seed: int, smooth: int
) -> None:
    rng = np.random.default_rng(seed)
    parts = [np.repeat(rng.normal(size=n), smooth)[:n] for n in lengths]
    at_most = most_peaks(lengths, raise_count=RULE.raise_count, clear_count=RULE.clear_count)
    assert n_peaks(parts, RULE) <= at_most


def test_the_number_of_frames_allows_as_many_peaks_as_there_can_be() -> None:
    """Three frames above the level in thirty: the bound is met."""
    scores = np.zeros(300)
    for first in range(0, 300, 30):
        scores[first : first + 3] = 5 + np.arange(3) + first
    assert n_peaks([scores], RULE) == 10
    assert most_peaks([300], raise_count=3, clear_count=10) == 10
    assert most_peaks([], raise_count=3, clear_count=10) == 0


@pytest.mark.parametrize("words", ["1", "1/month", "0/day", "-1/day", "many", "1 / day", "1e9/day"])
def test_a_rate_that_is_none_is_refused(words: str) -> None:
    with pytest.raises(UsageError, match=r"--false-alarms: must be like 1/day"):
        parse_rate(words)


def _components(n: int) -> list[npt.NDArray[np.float32]]:
    return [(30 - 2 * _normal(n, seed)[:, None]).astype(np.float32) for seed in (1, 2)]


def test_calibration_takes_the_rate_and_says_what_it_expects() -> None:
    quantile, rare = (
        calibrate(
            _components(4000), CARD.components, CARD.causal_chain, source="x", fps=FPS, false_alarms_per_day=asked
        )
        for asked in (None, 1.0)
    )  # fmt: skip
    assert rare[1].threshold > quantile[1].threshold
    assert rare[1].clear_threshold == quantile[1].clear_threshold
    assert quantile[0].false_alarms is not None
    assert rare[0].false_alarms is not None
    assert quantile[0].false_alarms.per_day > 100
    assert rare[0].false_alarms.per_day == pytest.approx(1)
    words = false_alarm_words(rare[0].model_dump())
    assert words.startswith("false alarms: 1 a day per camera at 10 frames/s, 95 % ")
    assert words.endswith(" peaks in 13 minutes of normal video")


@pytest.mark.parametrize(
    ("n", "fps", "said"), [(4000, None, "give it by --fps"), (60, FPS, "give longer normal video")]
)
def test_what_a_rate_cannot_be_made_of_is_said(n: int, fps: float | None, said: str) -> None:
    parts = _components(n)
    with pytest.raises(UsageError, match=said):
        calibrate(parts, CARD.components, CARD.causal_chain, source="x", fps=fps, false_alarms_per_day=1)  # fmt: skip
    if fps is not None:
        with pytest.raises(
            UsageError, match=r"needs .* peak 8 times at least, got [1-7] peaks in 120"
        ):
            calibrate(parts, CARD.components, CARD.causal_chain, source="x", fps=fps, false_alarms_per_day=1)  # fmt: skip
    calibration, _ = calibrate(parts, CARD.components, CARD.causal_chain, source="x", fps=fps)
    assert calibration.false_alarms is None
    assert said in false_alarm_words(calibration.model_dump())
