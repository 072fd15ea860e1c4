"""The race: alternating, fair to tiny models, and honest about its spread."""

import time

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vadfast.progress import steps
from vadfast.race import N_WARM_UP, RETIRING, Timing, alternate, race, ratio, summarise
from vadfast.runtime.engine import Outputs

WINDOWS = [np.zeros((1, 3, 8, 8, 3), np.uint8)]


class _Sleeper:
    backend, precision, batch = "sleeper", "fp32", 1

    def __init__(self, name: str, seconds: float, log: list[str]) -> None:
        self.name, self.seconds, self.log = name, seconds, log

    def __call__(self, frames: npt.NDArray[np.uint8]) -> Outputs:
        self.log.append(self.name)
        time.sleep(self.seconds)
        return Outputs(np.zeros((1, 1), np.float32), np.zeros((1, 1, 1), np.float32))

    def close(self) -> None:
        pass


def test_engines_take_turns_and_the_order_rotates() -> None:
    log: list[str] = []
    engines = [_Sleeper("a", 0.03, log), _Sleeper("b", 0.045, log)]
    with steps("race", 8) as bar:
        a, b = race(engines, WINDOWS, rounds=3, steps=bar)
    warm = N_WARM_UP * 2
    assert log[warm:] == ["a", "b", "b", "a", "a", "b"]
    assert 30 <= a.median_ms < b.median_ms
    assert a.lo_ms <= a.median_ms <= a.hi_ms


def _clocked(ms: list[float], rounds: int, reference: int | None) -> list[Timing]:
    """A race of calls that take what they are said to, by a clock that says so."""
    calls = [lambda _, t=t: t for t in ms]
    with steps("race", len(ms) * (rounds + 1)) as bar:
        timings = alternate(
            calls,
            rounds=rounds,
            steps=bar,
            clock=lambda call, first, _: float(call(0)) + 0.1 * (first % 3),  # type: ignore[arg-type]
            reference=reference,
        )
        assert bar._done == len(ms) * (rounds + 1)
    return timings


def test_who_is_far_behind_retires_and_the_reference_later() -> None:
    eager, slow, near, fast = _clocked([90.0, 80.0, 25.0, 20.0], 13, reference=0)
    assert [len(t.round_ms) for t in (eager, slow, near, fast)] == [2 * RETIRING, RETIRING, 13, 13]
    times, lo, hi = ratio(eager, slow)
    assert lo <= times <= hi
    assert times == pytest.approx(90 / 80, rel=0.01)


def test_without_a_reference_nobody_retires() -> None:
    assert [len(t.round_ms) for t in _clocked([80.0, 20.0], 6, reference=None)] == [6, 6]


def test_a_tiny_model_is_called_many_times_a_turn() -> None:
    log: list[str] = []
    with steps("race", 4) as bar:
        (timing,) = race([_Sleeper("a", 0.001, log)], WINDOWS, rounds=3, steps=bar)
    assert len(log) > 3 * 4
    assert timing.median_ms < 20


@given(st.lists(st.floats(0.01, 1e4), min_size=3, max_size=30))
def test_the_interval_holds_the_median_and_lies_within_the_times(times: list[float]) -> None:
    timing = summarise(times)
    assert min(times) <= timing.lo_ms <= timing.median_ms * (1 + 1e-12)
    assert timing.median_ms * (1 - 1e-12) <= timing.hi_ms <= max(times)
    assert timing == summarise(times)


def test_an_outlier_does_not_move_the_median() -> None:
    assert summarise([10.0] * 9 + [1000.0]).median_ms == pytest.approx(10.0)


def test_a_candidate_does_not_pay_for_the_threads_of_the_one_before() -> None:
    """Some runtimes' idle threads spin for 50 ms; the first race took that time from whoever came next."""
    ended: list[float] = []
    gaps: list[float] = []

    class Clocked(_Sleeper):
        def __call__(self, frames: npt.NDArray[np.uint8]) -> Outputs:
            if len(self.log) >= warm and self.log[-1] != self.name:
                gaps.append(time.perf_counter() - ended[-1])
            outputs = super().__call__(frames)
            ended.append(time.perf_counter())
            return outputs

    warm = N_WARM_UP * 2
    log: list[str] = []
    with steps("race", 8) as bar:
        race([Clocked("a", 0.03, log), Clocked("b", 0.03, log)], WINDOWS, rounds=3, steps=bar)
    assert len(gaps) >= 3
    assert min(gaps) > 0.05
