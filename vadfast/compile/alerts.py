"""Whether two engines raise the same alerts: what a camera's owner sees of all the numbers."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from vadfast.runtime.alert import Alert
from vadfast.runtime.manifest import AlertRule

# An alert needs 3 of 5 scores, so one score on the other side of the threshold moves it by up to as many frames.
WITHIN_FRAMES = 5

Scores = npt.NDArray[np.float64]


def starts(scores: Scores, rule: AlertRule) -> list[int]:
    """Returns the frames at which ``rule`` raises an alert on the causal scores [n] of one video."""
    alert = Alert(rule)
    events = [alert.push(float(score), frame, float(frame)) for frame, score in enumerate(scores)]
    return [event.frame for event in events if event is not None and event.kind == "start"]


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
