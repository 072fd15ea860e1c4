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

N_WARM_UP = 2  # calls; the last is timed, for how many make a turn
# A turn lasts at least this long: a tiny model is called several times in it, because one call of
# 100 us is mostly the clock, cold caches and the threads of the candidate before.
_TURN_MS = 20.0
# ONNX Runtime's idle threads spin for up to 50 ms in the hope of more work. Without this pause they
# take a core from the next candidate: on 2 cores OpenVINO measured 15.6 ms instead of 8.8 after ONNX
# Runtime, and eager 38 instead of 18. Longer pauses change nothing: 192 ms after 60 ms of it, 189 after 100, 190 after 150.
_SETTLE_S = 0.06
_N_RESAMPLES = 2000
# After so many rounds, whoever is so many times slower than the fastest is not raced further: it cannot win, and slow ones are most
# of a race's time. What all are compared with may be slower still, and is raced twice as long.
RETIRING = 5
FAR = 1.5

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
    reference: int | None = None,
) -> list[Timing]:
    """Returns the timing of each engine, in order; ``steps`` advances ``len(engines) * (rounds + 1)`` times.

    Args:
        engines: what to time.
        windows: uint8 [batch, T, H, W, 3] each, contiguous; call i of every engine gets window i (cyclically).
        rounds: how often each engine has its turn.
        steps: where progress is shown.
        reference: which engine all are compared with. Named, it runs ``2 * RETIRING`` rounds, and whoever may still be the fastest
            all; the others retire after ``RETIRING``.
    """

    def caller(engine: Engine) -> Callable[[int], object]:
        return lambda i: engine(windows[i % len(windows)])

    calls = [caller(engine) for engine in engines]
    return alternate(calls, rounds=rounds, steps=steps, reference=reference)


def wall_clock(call: Call, first: int, n_calls: int) -> float:
    """Calls ``call(first)`` to ``call(first + n_calls - 1)``; returns milliseconds per call."""
    start = time.perf_counter()
    for i in range(first, first + n_calls):
        call(i)
    return (time.perf_counter() - start) * 1e3 / n_calls


def alternate(
    calls: Sequence[Call],
    *,
    rounds: int,
    steps: Steps,
    clock: Clock = wall_clock,
    reference: int | None = None,
) -> list[Timing]:
    """Returns the timing of each of ``calls``, in order; each is given the number of its turn, warm-up included, to rotate its input by.

    ``reference`` as of ``race``.
    """
    turns = []
    for call in calls:
        for i in range(N_WARM_UP - 1):
            call(i)
        time.sleep(_SETTLE_S)
        turns.append(max(1, math.ceil(_TURN_MS / clock(call, N_WARM_UP - 1, 1))))
        steps.advance()
    times: list[list[float]] = [[] for _ in calls]
    still = list(range(len(calls)))
    for r in range(rounds):
        if reference is not None and r in (RETIRING, 2 * RETIRING):
            able = _contenders(times, reference if r == RETIRING else None)
            kept = [i for i in still if i in able]
            steps.advance((len(still) - len(kept)) * (rounds - r))
            still = kept
        for i in range(len(still)):
            k = still[(i + r) % len(still)]
            time.sleep(_SETTLE_S)
            first = N_WARM_UP + r
            if turns[k] > 1:  # a short call feels what the candidate before left in the cache
                calls[k](first)
            times[k].append(clock(calls[k], first, turns[k]))
            steps.advance()
    return [summarise(t) for t in times]


def _contenders(times: Sequence[Sequence[float]], reference: int | None) -> list[int]:
    """Those that may be the fastest yet: whose interval does not lie above ``FAR`` times that of the fastest; and ``reference``."""
    timings = [summarise(t) for t in times]
    bound = FAR * min(timings, key=lambda t: t.median_ms).hi_ms
    return [i for i, t in enumerate(timings) if t.lo_ms <= bound or i == reference]


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
    n = min(len(reference.round_ms), len(timing.round_ms))  # one may have retired
    a, b = np.asarray(reference.round_ms[:n]), np.asarray(timing.round_ms[:n])
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
