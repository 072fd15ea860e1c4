"""Alerts of two engines: partners are found within a few frames, each once, and what has none is counted."""

from typing import Any

import numpy as np
import pytest

from tests.compile.tiny import manifest
from vadfast.compile.alerts import (
    WITHIN_FRAMES,
    LabelledSpans,
    Scores,
    compare,
    judge_labelled,
    labelled_spans,
    starts,
    statistic,
)
from vadfast.runtime.manifest import AlertRule

RULE = AlertRule(threshold=1, clear_threshold=0.5, raise_count=2, raise_window=3, clear_count=4)


def _video(*raised: int, n: int = 60) -> Scores:
    scores = np.zeros(n)
    for frame in raised:
        scores[frame - 1 : frame + 1] = 2  # the second completes the evidence
    return scores


def test_an_alert_starts_with_the_frame_that_completes_it() -> None:
    assert starts(_video(10, 40), RULE) == [10, 40]
    assert starts(_video(), RULE) == []


@pytest.mark.parametrize(
    ("a", "b", "n", "alone"),
    [
        ((10, 40), (10, 40), 4, 0),
        ((10,), (10 + WITHIN_FRAMES,), 2, 0),
        ((10,), (11 + WITHIN_FRAMES,), 2, 2),
        ((10, 40), (10,), 3, 1),
        ((), (10, 40), 2, 2),
        ((), (), 0, 0),
    ],
)
def test_what_has_no_partner_is_counted(
    a: tuple[int, ...], b: tuple[int, ...], n: int, alone: int
) -> None:
    assert compare([_video(*a)], [_video(*b)], RULE) == (n, alone)
    assert compare([_video(*b)], [_video(*a)], RULE) == (n, alone)


def test_a_partner_is_of_the_same_video_and_of_one_alert() -> None:
    assert compare([_video(10), _video()], [_video(), _video(10)], RULE) == (2, 2)
    quick = RULE.model_copy(update={"raise_count": 1, "raise_window": 1, "clear_count": 1})
    assert compare([_video(10, 13)], [_video(11)], quick) == (3, 1)


def _labels(*spans: tuple[int, int], n: int = 60) -> np.ndarray:
    labels = np.zeros(n, np.uint8)
    for first, end in spans:
        labels[first:end] = 1
    return labels


def test_an_alert_is_raised_where_its_statistic_first_exceeds_the_threshold() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        scores = rng.normal(size=60)
        above = np.flatnonzero(statistic(scores, RULE) > RULE.threshold)
        assert starts(scores, RULE)[:1] == list(above[:1])


@pytest.mark.parametrize(
    ("raised", "spans", "alerted"),
    [
        ((), [(10, 20)], 0),
        ((12,), [(10, 20)], 1),
        ((12,), [(10, 20), (40, 50)], 1),
        ((12, 44), [(10, 20), (40, 50)], 2),
        ((19 + WITHIN_FRAMES,), [(10, 20)], 1),
        ((20 + WITHIN_FRAMES,), [(10, 20)], 0),
        ((5,), [(10, 20)], 0),
        ((23,), [(10, 20), (22, 30)], 1),
        ((55,), [(50, 60)], 1),
    ],
)
def test_a_labelled_span_counts_where_an_alert_is_on_in_it_or_soon_after(
    raised: tuple[int, ...], spans: list[tuple[int, int]], alerted: int
) -> None:
    found = labelled_spans([_video(*raised)], [_labels(*spans)], RULE)
    assert (found.n, found.alerted) == (len(spans), alerted)


def test_what_nobody_labelled_is_no_span() -> None:
    assert labelled_spans([_video(10)], [None], RULE) == LabelledSpans(0, 0, None)
    assert labelled_spans([_video(10)], [_labels()], RULE) == LabelledSpans(0, 0, None)
    assert labelled_spans([_video(10)], [_labels((5, 15))], RULE).highest == 2
    short = labelled_spans([np.zeros(1)], [np.ones(1, np.uint8)], RULE)
    assert short == LabelledSpans(1, 0, None), "one score is too few for the rule"


def test_a_threshold_that_lets_nothing_through_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    values = manifest()
    model: Any = values
    psnr = np.full((40, 1), 10, np.float32)
    psnr[10:20] = 6  # four robust standard deviations worse than normal video
    labels = _labels((10, 20), n=40)
    for threshold, alerted in ((3.0, 1), (30.0, 0)):
        rule = values.alert.model_copy(update={"threshold": threshold})
        found = judge_labelled([psnr], [labels], model, values.calibration, rule)
        assert (found.n, found.alerted) == (1, alerted)
        said = capsys.readouterr().err
        assert ("none of 1 labelled spans in the gate's windows" in said) == (not alerted)
    assert "the threshold is 30.00, and what must exceed it reaches 3." in said
