"""A contest times only what is right, says why the rest has no time, and judges targets by paired rounds."""

import time
from contextlib import ExitStack
from typing import Any

import pytest

from bench.child import child, peak_mb
from bench.conftest import Replay
from bench.contest import Check, Contest, Field, Provider, Target
from vadfast.race import Timing, ratio, summarise


def _sleep(ms: float, result: float) -> Any:
    def call(_: int) -> float:
        time.sleep(ms / 1e3)
        return result

    return call


def _contest(**targets: Target) -> Contest:
    def open_(stack: ExitStack) -> Field:
        providers = {
            "slow": Provider(_sleep(60, 1.0)),
            "fast": Provider(_sleep(20, 1.0 + 1e-9)),
            "wrong": Provider(_sleep(1, 1.5)),
            "nan": Provider(_sleep(1, float("nan"))),
        }
        return Field(
            providers, lambda _, x: Check(abs(x - 1), 1e-6, "x"), {"absent": "not installed"}
        )

    return Contest(
        "s", "c", "1", "slow", ("slow", "fast", "wrong", "nan", "absent"), open_, targets
    )


def test_only_what_is_right_is_timed() -> None:
    results = _contest().run(rounds=3)
    timed = {name for name, (row, timing) in results.items() if timing is not None}
    assert timed == {"slow", "fast"}
    assert results["wrong"][0].note == "wrong, so not timed: error 0.5 x of 1e-06 x allowed"
    assert results["nan"][0].median_ms is None
    assert results["absent"][0].note == "not installed"
    fast = results["fast"][0]
    assert fast.ratio is not None
    assert 2 < fast.ratio < 4
    assert fast.verified == "error 1e-09 x of 1e-06 x allowed"


@pytest.mark.parametrize(("at_least", "rival", "met"), [(1.5, "slow", True), (9, "slow", False)])
def test_a_target_is_met_or_missed(at_least: float, rival: str, met: bool) -> None:
    row = _contest(fast=Target(at_least, (rival,))).run(rounds=3)["fast"][0]
    assert row.met is met
    assert row.target == f">= {at_least:g}x slow, not slower than slow"


def test_slower_than_its_rival_misses() -> None:
    assert _contest(slow=Target(1.0, ("fast",))).run(rounds=3)["slow"][0].met is False


def test_the_interval_holds_the_ratio_and_pairs_rounds() -> None:
    load = (1.0, 2.0, 5.0, 1.0, 3.0)  # slows both alike
    a, b = summarise([2.0 * x for x in load]), summarise(load)
    assert ratio(a, b) == (2.0, 2.0, 2.0)


def test_the_replay_shows_pytest_benchmark_the_given_times() -> None:
    clock = Replay()
    clock.load([0.5, 0.25])
    seen = []
    for _ in range(2):
        start = clock()
        seen.append(clock() - start)
    assert seen == pytest.approx([0.5, 0.25])


def adder(amount: int) -> Any:
    """What the child process makes."""
    import os

    return lambda i: (i + amount, os.environ["VADFAST_TEST_CHILD"], os.getpid())


def test_a_child_has_its_own_process_and_environment() -> None:
    import os

    with child(adder, 3, environment={"VADFAST_TEST_CHILD": "yes"}) as call:
        total, value, pid = call(4)
    assert (total, value) == (7, "yes")
    assert pid != os.getpid()
    assert "VADFAST_TEST_CHILD" not in os.environ


def test_summaries_have_no_spread_without_spread() -> None:
    assert summarise([3.0] * 5) == Timing(3.0, 3.0, 3.0, (3.0,) * 5)


def hoarder(megabytes: int) -> Any:
    """Each call holds so much memory for a moment."""
    import numpy as np

    def call(_: int) -> int:
        return int(np.ones(megabytes << 20, np.uint8)[::4096].sum())

    return call


def test_peak_memory_is_that_of_one_call() -> None:
    import numpy as np

    ours = np.ones(400 << 20, np.uint8)  # what the parent holds must not count
    assert peak_mb(hoarder, 200) == pytest.approx(200, abs=15)
    assert peak_mb(hoarder, 0) < 10
    assert ours[-1] == 1


def failing() -> Any:
    def call(_: int) -> None:
        raise ValueError("out of luck")

    return call


def test_an_error_in_the_child_is_said_where_the_call_was_made() -> None:
    with child(failing) as call, pytest.raises(RuntimeError, match="ValueError: out of luck"):
        call(0)


def test_a_target_may_ask_to_be_ahead_of_its_rivals() -> None:
    times = {"eager": 40.0, "rival": 12.0, "ours": 10.0}
    timings = {name: summarise([ms] * 5) for name, ms in times.items()}
    for ahead, met in ((1.0, True), (1.19, True), (1.25, False)):
        row = Target(3.0, ("rival",), ahead).judge("ours", "eager", timings)
        assert row["met"] is met
        assert row["note"] == "1.20x [1.20, 1.20] rival"
    assert Target(3.0, ("rival",), 1.25).words("eager") == ">= 3x eager, >= 1.25x rival"
    assert Target(0, ("rival",)).words("eager") == "not slower than rival"
