"""Alerts on the gate's windows: whether two engines raise the same, and whether what is labelled raises one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vadfast.cli import talk
from vadfast.runtime.alert import Alert
from vadfast.runtime.manifest import AlertRule, Calibration
from vadfast.runtime.score import run_chain

if TYPE_CHECKING:
    from vadfast.models.registry import TrainedModel

# An alert needs 3 of 5 scores, so one score on the other side of the threshold moves it by up to as many frames.
WITHIN_FRAMES = 5

Scores = npt.NDArray[np.float64]


def starts(scores: Scores, rule: AlertRule) -> list[int]:
    """Returns the frames at which ``rule`` raises an alert on the causal scores [n] of one video."""
    begins = np.diff(_active(scores, rule).astype(np.int8), prepend=0) == 1
    return [int(frame) for frame in np.flatnonzero(begins)]


def statistic(scores: Scores, rule: AlertRule) -> Scores:
    """Returns what exceeds the threshold where ``rule`` raises: at each frame [n] the raise_count-th largest of the last raise_window scores.

    It is -inf before there are raise_count scores.

    >>> rule = AlertRule(threshold=1, clear_threshold=1, raise_count=2, raise_window=3, clear_count=1)
    >>> statistic(np.array([5.0, 1.0, 3.0, 2.0]), rule).tolist()
    [-inf, 1.0, 3.0, 2.0]
    """
    padded = np.concatenate([np.full(rule.raise_window - 1, -np.inf), scores])
    recent = np.lib.stride_tricks.sliding_window_view(padded, rule.raise_window)
    return np.asarray(np.sort(recent, axis=1)[:, -rule.raise_count], np.float64)


@dataclass(frozen=True, slots=True)
class LabelledSpans:
    """What the alert rule makes of the gate's labelled windows."""

    n: int  # stretches of windows that are labelled abnormal
    alerted: int  # of them, in alert at a frame of theirs, or within WITHIN_FRAMES after
    # What the threshold would have to lie below for one alert; None without spans, or where all are too short for the rule.
    highest: float | None


def labelled_spans(
    parts: Sequence[Scores], labels: Sequence[npt.NDArray[np.uint8] | None], rule: AlertRule
) -> LabelledSpans:
    """Returns how many labelled spans ``rule`` raises an alert in, on the causal scores and labels [n] of each piece of film.

    >>> rule = AlertRule(threshold=1, clear_threshold=1, raise_count=1, raise_window=1, clear_count=1)
    >>> labelled_spans([np.array([0.0, 2.0, 0.0, 0.5])], [np.array([0, 1, 0, 1], np.uint8)], rule)
    LabelledSpans(n=2, alerted=1, highest=2.0)
    """
    alerted, reached = [], []
    for scores, abnormal in zip(parts, labels, strict=True):
        if abnormal is None:
            continue
        active, statistics = _active(scores, rule), statistic(scores, rule)
        edges = np.flatnonzero(np.diff(abnormal.astype(np.int8), prepend=0, append=0))
        for first, end in zip(edges[::2], edges[1::2], strict=True):
            # As far as the next span: an alert in both is one of each.
            late = min([end + WITHIN_FRAMES, *(edge for edge in edges[::2] if edge >= end)])
            alerted.append(bool(active[first:late].any()))
            reached.append(float(statistics[first:late].max()))
    highest = max(filter(np.isfinite, reached), default=None)
    return LabelledSpans(len(alerted), sum(alerted), highest)


def judge_labelled(
    components: Sequence[npt.NDArray[np.float32]],
    labels: Sequence[npt.NDArray[np.uint8] | None],
    model: "TrainedModel",
    calibration: Calibration,
    rule: AlertRule,
) -> LabelledSpans:
    """Returns the same from the components [n, K] of what ships first, and says where the threshold lets nothing through.

    The threshold knows normal video alone: it may lie far above anything that the model says of what is abnormal.
    """
    chain = model.causal_chain
    scores = [run_chain(chain, model.components, part, calibration) for part in components]
    spans = labelled_spans(scores, labels, rule)
    if spans.highest is not None and not spans.alerted:
        talk.print(
            f"note: none of {spans.n} labelled spans in the gate's windows would raise an alert: the threshold is {rule.threshold:.2f}, and what "
            f"must exceed it reaches {spans.highest:.2f} there; allow more false alarms by --false-alarms, or give more normal video by --calibrate"
        )
    return spans


def _active(scores: Scores, rule: AlertRule) -> npt.NDArray[np.bool_]:
    """At which frames [n] an alert is on."""
    alert, active = Alert(rule), []
    for frame, score in enumerate(scores):
        alert.push(float(score), frame, float(frame))
        active.append(alert.active)
    return np.array(active, bool)


def compare(a: Sequence[Scores], b: Sequence[Scores], rule: AlertRule) -> tuple[int, int]:
    """Returns how many alerts the scores ``a`` and ``b`` of the same videos raise together, and how many of them have no partner.

    A partner is an alert of the other within WITHIN_FRAMES frames of the same video, for one alert only.

    >>> rule = AlertRule(threshold=1, clear_threshold=1, raise_count=1, raise_window=1, clear_count=1)
    >>> compare([np.array([0.0, 2.0, 0.0])], [np.array([0.0, 0.0, 2.0])], rule)
    (2, 0)
    """
    n = alone = 0
    for one, other in zip(a, b, strict=True):
        mine, theirs = starts(one, rule), starts(other, rule)
        n += len(mine) + len(theirs)
        left = list(theirs)
        for frame in mine:
            near = [f for f in left if abs(f - frame) <= WITHIN_FRAMES]
            if near:
                left.remove(min(near, key=lambda f: abs(f - frame)))
            else:
                alone += 1
        alone += len(left)
    return n, alone
