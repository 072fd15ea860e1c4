"""Alerts of two engines: partners are found within a few frames, each once, and what has none is counted."""

import numpy as np
import pytest

from vadfast.compile.alerts import WITHIN_FRAMES, Scores, compare, starts
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
