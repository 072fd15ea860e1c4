"""The race: all candidates take turns on the same work, so that load slows all of them alike.

Each round runs every candidate once, in an order that rotates; the result is the median over rounds
with a bootstrap interval. ``vadfast.compile`` races engines with it, the benchmark suite everything.
"""

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vadfast.progress import Steps
from vadfast.runtime.engine import Engine

N_WARM_UP = 2
# A turn lasts at least this long: a tiny model is called several times in it, because one call of
# 100 us is mostly the clock, cold caches and the threads of the candidate before.
_TURN_MS = 20.0
# ONNX Runtime's idle threads spin for up to 50 ms in the hope of more work. Without this pause they
# take a core from the next candidate: on 2 cores OpenVINO measured 15.6 ms instead of 8.8 after ONNX
# Runtime, and eager 38 instead of 18.
_SETTLE_S = 0.1
_N_RESAMPLES = 2000

Call = Callable[[int], object]
Clock = Callable[[Call, int, int], float]


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds per call: the median over rounds and its 95 % interval."""

    median_ms: float
    lo_ms: float
    hi_ms: float
    round_ms: tuple[float, ...]


def race(
    engines: Sequence[Engine],
    windows: Sequence[npt.NDArray[np.uint8]],
    *,
    rounds: int,
    steps: Steps,
) -> list[Timing]:
    """Returns the timing of each engine, in order; ``steps`` advances ``len(engines) * (rounds + 1)`` times.

    Args:
        engines: what to time.
        windows: uint8 [batch, T, H, W, 3] each, contiguous; call i of every engine gets window i (cyclically).
        rounds: how often each engine has its turn.
        steps: where progress is shown.
    """

    def caller(engine: Engine) -> Callable[[int], object]:
        return lambda i: engine(windows[i % len(windows)])

    return alternate([caller(engine) for engine in engines], rounds=rounds, steps=steps)


def wall_clock(call: Call, first: int, n_calls: int) -> float:
    """Calls ``call(first)`` to ``call(first + n_calls - 1)``; returns milliseconds per call."""
    start = time.perf_counter()
    for i in range(first, first + n_calls):
        call(i)
    return (time.perf_counter() - start) * 1e3 / n_calls


def alternate(
    calls: Sequence[Call], *, rounds: int, steps: Steps, clock: Clock = wall_clock
) -> list[Timing]:
    """Returns the timing of each of ``calls``, in order; each is given the number of its call, to rotate its input by."""
    turns = []
    for call in calls:
        for i in range(N_WARM_UP):
            call(i)
        time.sleep(_SETTLE_S)
        turns.append(max(1, math.ceil(_TURN_MS / clock(call, 0, 1))))
        steps.advance()
    times: list[list[float]] = [[] for _ in calls]
    for r in range(rounds):
        for i in range(len(calls)):
            k = (i + r) % len(calls)
            time.sleep(_SETTLE_S)
            if turns[k] > 1:  # a short call feels what the candidate before left in the cache
                calls[k](r)
            times[k].append(clock(calls[k], r, turns[k]))
            steps.advance()
    return [summarise(t) for t in times]


def summarise(round_ms: Sequence[float]) -> Timing:
    """Returns the median and its 95 % percentile-bootstrap interval; the same times give the same interval."""
    times = np.asarray(round_ms, dtype=np.float64)
    resamples = np.random.default_rng(0).choice(times, size=(_N_RESAMPLES, len(times)))
    lo, hi = np.quantile(np.median(resamples, axis=1), [0.025, 0.975])
    return Timing(float(np.median(times)), float(lo), float(hi), tuple(times.tolist()))


def ratio(reference: Timing, timing: Timing) -> tuple[float, float, float]:
    """Returns how many times faster ``timing`` is than ``reference``, and the 95 % interval of that.

    Rounds are resampled in pairs: what slowed a round slowed both.
    """
    a, b = np.asarray(reference.round_ms), np.asarray(timing.round_ms)
    picks = np.random.default_rng(0).integers(len(a), size=(_N_RESAMPLES, len(a)))
    ratios = np.median(a[picks], axis=1) / np.median(b[picks], axis=1)
    lo, hi = np.quantile(ratios, [0.025, 0.975])
    return float(np.median(a) / np.median(b)), float(lo), float(hi)


def short_ms(value: float) -> str:
    """Returns milliseconds in three digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def load_average() -> float:
    """Returns how many processes wanted a CPU during the last minute."""
    return os.getloadavg()[0]
