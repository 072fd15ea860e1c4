"""``_C.Alert`` against Python's integers, and against ``vadfast.runtime.alert`` event for event."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vadfast_kernels import _native
from vadfast_kernels.score_chain import reference
from vadfast_kernels.score_chain.watch import Alert, Event

from vadfast.runtime.alert import Alert as RuntimeAlert
from vadfast.runtime.manifest import AlertRule

if (reason := _native.refusal()) is not None:
    pytest.skip(f"no compiled module: it {reason}", allow_module_level=True)

S = 10**9
LEAST, MOST = -(2**63), 2**63 - 1
# Few levels, so that scores meet thresholds; thresholds on them, so that equality is tried.
SCORES = st.lists(st.sampled_from([0.0, 1.0, 1.5, 2.0, 2.5, 3.0]), max_size=120)


@st.composite
def rules(draw: st.DrawFn) -> dict[str, float | int]:
    window = draw(st.integers(1, 8))
    threshold = draw(st.sampled_from([1.0, 1.5, 2.0]))
    return {
        "threshold": threshold,
        "clear_threshold": draw(st.sampled_from([0.5, 1.0, threshold]).filter(lambda c: c <= threshold)),
        "raise_count": draw(st.integers(1, window)),
        "raise_window": window,
        "clear_count": draw(st.integers(1, 4)),
    }  # fmt: skip


@given(rules(), SCORES)
@settings(max_examples=200, deadline=None)
def test_the_runtimes_alert_event_for_event(rule: dict[str, float], scores: list[float]) -> None:
    """Without a cap and a rest it is the plain Python alert, and what the runtime reports, also at the end of the film."""
    ours, theirs = Alert(**rule), RuntimeAlert(AlertRule(**rule))
    found = ours.push(np.array(scores), np.arange(len(scores)))
    assert found == reference.Alert(**rule).push(np.array(scores), np.arange(len(scores)))
    wanted = [theirs.push(score, i, i * 1e-9) for i, score in enumerate(scores)]
    assert [(e.kind, e.index, e.peak) for e in found] == [
        (e.kind, e.frame, e.peak) for e in wanted if e
    ]
    assert ours.active == theirs.active
    last, wanted_last = ours.finish(), theirs.finish()
    assert (last and (last.kind, last.peak)) == (
        wanted_last and (wanted_last.kind, wanted_last.peak)
    )
    assert not ours.active


TIMES = st.one_of(
    st.integers(0, 3 * S),
    st.sampled_from([900 * S, 3599 * S, 3600 * S, 3600 * S - 1, -S, -3600 * S]),
)


@given(
    rules(), SCORES, st.data(), st.sampled_from([0, 1, 2, 5]), st.sampled_from([0, 1, 2 * S, MOST])
)
@settings(max_examples=300, deadline=None)
def test_rest_and_cap_are_those_of_the_reference(
    rule: dict[str, float], scores: list[float], data: st.DataObject, cap: int, rest: int
) -> None:
    n = len(scores)
    steps = data.draw(st.lists(TIMES, min_size=n, max_size=n))
    times = np.cumsum(np.array(steps, np.int64))
    ours, theirs = (
        kind(**rule, max_per_hour=cap, cool_down_ns=rest) for kind in (Alert, reference.Alert)
    )
    cut = data.draw(st.integers(0, n))
    x = np.array(scores)
    found = ours.push(x[:cut], times[:cut]) + [
        Event(e.kind, e.index + cut, e.n_suppressed, e.peak)
        for e in ours.push(x[cut:], times[cut:])
    ]
    assert found == theirs.push(x, times)
    assert ours.finish() == theirs.finish()


@given(rules(), st.lists(st.tuples(st.sampled_from([0.0, 3.0]), st.integers(LEAST, MOST)), max_size=60),
       st.integers(0, MOST))  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_any_time_at_all(
    rule: dict[str, float], frames: list[tuple[float, int]], rest: int
) -> None:
    scores = np.array([score for score, _ in frames])
    times = np.array([time for _, time in frames], np.int64)
    ours, theirs = (
        kind(**rule, max_per_hour=1, cool_down_ns=rest) for kind in (Alert, reference.Alert)
    )
    assert ours.push(scores, times) == theirs.push(scores, times)


def _blips(alert: Alert, times_s: list[float]) -> list[Event]:
    """One high and one low score at each time."""
    times = np.array([t for s in times_s for t in (round(s * S), round(s * S) + 1)], np.int64)
    return alert.push(np.array([2.0, 0.0] * len(times_s)), times)


def _quick(**more: int) -> Alert:
    return Alert(
        threshold=1.0, clear_threshold=1.0, raise_count=1, raise_window=1, clear_count=1, **more
    )


def test_the_cap_counts_what_it_keeps_back() -> None:
    alert = _quick(max_per_hour=2)
    events = _blips(alert, [0, 10, 20, 30, 3599, 3600, 3605, 3610])
    starts = [(e.index // 2, e.n_suppressed) for e in events if e.kind == "start"]
    # At 3600 s the start of 0 s is an hour old; at 3610 s that of 10 s.
    assert starts == [(0, 0), (1, 0), (5, 3), (7, 1)]
    assert sum(e.kind == "end" for e in events) == len(starts)


def test_an_event_that_is_kept_back_is_active_all_the_same() -> None:
    """Calibration must not learn an incident because nobody was told of it."""
    alert = _quick(max_per_hour=1)
    _blips(alert, [0])
    assert alert.push(np.array([2.0]), np.array([10 * S])) == []
    assert alert.active
    assert alert.finish() is None
    assert not alert.active


def test_a_rest_ends_to_the_nanosecond() -> None:
    alert = _quick(cool_down_ns=5 * S)
    high, low = np.array([2.0]), np.array([0.0])
    alert.push(high, np.array([0]))
    alert.push(low, np.array([S]))  # the end
    assert alert.push(high, np.array([6 * S - 1])) == []
    assert [e.kind for e in alert.push(high, np.array([6 * S]))] == ["start"]


def test_a_clock_that_is_set_back_does_not_silence_it() -> None:
    alert = _quick(cool_down_ns=60 * S, max_per_hour=1)
    _blips(alert, [10_000])
    assert [e.kind for e in _blips(alert, [5_000])] == ["start", "end"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"threshold": np.nan}, "threshold must be finite, got nan"),
        ({"clear_threshold": 2.5}, "clear_threshold must be finite and not exceed threshold"),
        ({"clear_threshold": -np.inf}, "clear_threshold must be finite"),
        ({"raise_window": 0}, "raise_window must be 1 ... 1048576, got 0"),
        ({"raise_window": 2**20 + 1}, "raise_window must be"),
        ({"raise_count": 4}, "raise_count must be 1 ... raise_window"),
        ({"raise_count": 0}, "raise_count must be 1 ... raise_window"),
        ({"clear_count": 0}, "clear_count must be at least 1, got 0"),
        ({"max_per_hour": -1}, "max_per_hour must be 0 ... 1048576, got -1"),
        ({"cool_down_ns": -1}, "cool_down_ns must be 0 or more, got -1"),
    ],
)
def test_a_rule_that_cannot_be_right(change: dict[str, float], sentence: str) -> None:
    rule = {
        "threshold": 2.0,
        "clear_threshold": 1.0,
        "raise_count": 2,
        "raise_window": 3,
        "clear_count": 1,
    }
    with pytest.raises(ValueError, match=sentence):
        Alert(**(rule | change))


def test_a_bad_score_leaves_the_alert_as_it_was() -> None:
    alert = Alert(threshold=1.0, clear_threshold=1.0, raise_count=2, raise_window=2, clear_count=1)
    with pytest.raises(ValueError, match=r"score must be finite .*, got nan"):
        alert.push(np.array([2.0, 2.0, np.nan]), np.arange(3))
    assert not alert.active
    with pytest.raises(TypeError, match="times_ns must be int64, got float64"):
        alert.push(np.array([2.0]), np.array([1.0]))
    assert alert.push(np.array([2.0]), np.arange(1)) == []
