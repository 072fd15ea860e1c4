"""Alerts: hand-made sequences, and what must hold for any sequence of scores."""

from hypothesis import given
from hypothesis import strategies as st

from vadfast.runtime.alert import Alert, Event
from vadfast.runtime.manifest import AlertRule

RULE = AlertRule(threshold=4.0, clear_threshold=2.0, raise_count=2, raise_window=3, clear_count=2)


def _events(scores: list[float], rule: AlertRule = RULE) -> list[Event]:
    alert = Alert(rule)
    events = [alert.push(score, frame, frame / 10) for frame, score in enumerate(scores)]
    return [event for event in (*events, alert.finish()) if event is not None]


def test_one_spike_is_no_event() -> None:
    assert _events([0, 0, 9, 0, 0, 9, 0, 0]) == []


def test_two_of_three_raise_and_two_low_clear() -> None:
    events = _events([0, 5, 0, 6, 3, 1, 3, 8, 1, 1, 0])
    assert events == [Event("start", 3, 0.3, 6.0), Event("end", 9, 0.9, 8.0)]


def test_the_threshold_itself_neither_raises_nor_clears() -> None:
    assert _events([4.0] * 10) == []
    assert _events([5.0, 5.0, 2.0, 2.0, 2.0])[1].frame == 4  # ended by the film, not by the rule


def test_an_event_at_the_end_of_the_film_ends_with_its_last_frame() -> None:
    assert _events([0, 5, 7]) == [Event("start", 2, 0.2, 7.0), Event("end", 2, 0.2, 7.0)]


def test_old_evidence_does_not_raise_a_second_event() -> None:
    rule = AlertRule(threshold=4, clear_threshold=2, raise_count=2, raise_window=8, clear_count=1)
    events = _events([5, 5, 0, 5, 0, 0], rule)
    assert [(e.kind, e.frame) for e in events] == [("start", 1), ("end", 2)]


rules = st.builds(
    lambda threshold, below, window, count, clear: AlertRule(
        threshold=threshold,
        clear_threshold=threshold - below,
        raise_count=min(count, window),
        raise_window=window,
        clear_count=clear,
    ),
    st.floats(-5, 5),
    st.floats(0, 3),
    st.integers(1, 6),
    st.integers(1, 6),
    st.integers(1, 6),
)


@given(st.lists(st.floats(-10, 10), max_size=80), rules)
def test_starts_and_ends_alternate_and_peaks_are_the_highest_score(
    scores: list[float], rule: AlertRule
) -> None:
    events = _events(scores, rule)
    assert [e.kind for e in events] == ["start", "end"] * (len(events) // 2)
    assert [e.frame for e in events] == sorted(e.frame for e in events)
    fresh = 0  # the first score after the event before
    for start, end in zip(events[::2], events[1::2], strict=True):
        assert scores[start.frame] > rule.threshold  # raised by a high score, at that score's frame
        first = max(fresh, start.frame - rule.raise_window + 1)
        assert start.peak == max(scores[first : start.frame + 1])
        assert end.peak == max(start.peak, *scores[start.frame : end.frame + 1])
        fresh = end.frame + 1


@given(st.lists(st.floats(-10, 10), max_size=60), st.lists(st.floats(-10, 10), max_size=20), rules)
def test_the_future_changes_no_event_of_the_past(
    past: list[float], future: list[float], rule: AlertRule
) -> None:
    def seen(scores: list[float]) -> list[Event | None]:
        alert = Alert(rule)
        return [alert.push(score, frame, frame / 10) for frame, score in enumerate(scores)]

    assert seen(past + future)[: len(past)] == seen(past)
