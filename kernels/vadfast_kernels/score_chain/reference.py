"""The score chain in NumPy, SciPy and plain Python, for the eye: each form as its definition says it."""

import math
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage, signal

from vadfast_kernels.score_chain.native import (
    Branch,
    ExponentialMean,
    Gaussian,
    Median,
    RobustZ,
    Savgol,
    Step,
)
from vadfast_kernels.score_chain.watch import Event

Array = npt.NDArray[np.float64]

# ------------------------------------------------------------------------------------------------ whole videos


def minmax(x: Array) -> Array:
    """(x - min) / (max - min); 0 where all are equal."""
    low, high = x.min(), x.max()
    return np.zeros_like(x) if low == high else (x - low) / (high - low)


def gaussian(x: Array, n_taps: int = 15, sigma: float = 2.0) -> Array:
    """A Gaussian whose weights end after ``n_taps``, borders repeated."""
    return ndimage.gaussian_filter1d(x, sigma, mode="nearest", radius=n_taps // 2)


def savgol(x: Array, length: int = 21, order: int = 2) -> Array:
    """A polynomial of ``order`` through ``length`` values, read in the middle; the outermost at the ends."""
    return signal.savgol_filter(x, length, order, mode="interp")


def median(x: Array, length: int = 17) -> Array:
    """The median of ``length`` values about each, borders repeated."""
    return ndimage.median_filter(x, length, mode="nearest")


# ------------------------------------------------------------------------------------------------ chain of a camera


def chain(branches: Sequence[Branch], components: Array) -> Array:
    """The scores [n] of ``components`` [n, n_components], frame by frame."""
    runs = [[_run(step) for step in branch.steps] for branch in branches]
    scores = []
    for row in components:
        score = 0.0
        for branch, steps in zip(branches, runs, strict=True):
            y = branch.sign * float(row[branch.column])
            for step in steps:
                y = step(y)
            score += branch.weight * y
        scores.append(score)
    return np.array(scores)


def _run(step: Step) -> Callable[[float], float]:
    """The step as a function of the newest value that remembers those before."""
    match step:
        case RobustZ(median, scale):
            return lambda x: _cut_off((x - median) / scale)
        case ExponentialMean(half_life):
            return _exponential_mean(half_life)
        case Savgol(length, order):
            return _windowed(length, lambda x: _cut_off(newest_of_fit(x, order)))
        case Median(length):
            return _windowed(length, lambda x: float(np.median(x)))
        case Gaussian(n_taps, sigma):
            return _windowed(n_taps // 2 + 1, lambda x: _newer_half(x, sigma))


def _cut_off(y: float) -> float:
    """What comes out of a step is at most 1e300, so that no later one overflows."""
    return min(max(y, -1e300), 1e300)


def _windowed(length: int, read: Callable[[Sequence[float]], float]) -> Callable[[float], float]:
    window: deque[float] = deque(maxlen=length)

    def run(x: float) -> float:
        window.append(x)
        return read(list(window))

    return run


def newest_of_fit(x: Sequence[float], order: int) -> float:
    """The polynomial of ``order``, or of as many as there are values for, at the newest of ``x``."""
    n = len(x)
    return float(signal.savgol_coeffs(n, min(order, n - 1), pos=n - 1, use="dot") @ x)


def _newer_half(x: Sequence[float], sigma: float) -> float:
    weights = np.exp(-0.5 * (np.arange(len(x))[::-1] / sigma) ** 2)
    return float(weights @ x / weights.sum())


def _exponential_mean(half_life: float) -> Callable[[float], float]:
    gain = 1.0 - 2.0 ** (-1.0 / half_life)
    mean: float | None = None

    def run(x: float) -> float:
        nonlocal mean
        mean = x if mean is None else mean + (x - mean) * gain
        return mean

    return run


# ------------------------------------------------------------------------------------------------ what is normal


def middle(x: Array) -> tuple[float, float]:
    """Median, and 1.4826 x median absolute deviation."""
    centre = float(np.median(x))
    return centre, 1.4826 * float(np.median(np.abs(x - centre)))


def tail_fit(
    x: Array, tail_quantile: float, max_excesses: int
) -> tuple[float, float, float, float]:
    """Threshold, share above it, shape (0.5 at most) and scale of the tail of ``x``, by probability-weighted moments."""
    n = min(math.floor((1 - tail_quantile) * len(x)), max_excesses)
    ordered = np.sort(x)
    threshold = ordered[-n - 1]
    excesses = ordered[-n:] - threshold
    mean = excesses.mean()
    weighted = (excesses * (n - 1 - np.arange(n)) / (n - 1)).mean()
    shape = min(2 - mean / (mean - 2 * weighted), 0.5)
    return threshold, n / len(x), shape, mean * (1 - shape)


# ------------------------------------------------------------------------------------------------ events


class Alert:
    """The hysteresis in Python's integers, which have no end; the arguments are those of the native one."""

    HOUR_NS = 3600 * 10**9

    def __init__(
        self,
        *,
        threshold: float,
        clear_threshold: float,
        raise_count: int,
        raise_window: int,
        clear_count: int,
        max_per_hour: int = 0,
        cool_down_ns: int = 0,
    ) -> None:
        """Starts quiet."""
        self.threshold, self.clear_threshold = threshold, clear_threshold
        self.raise_count, self.clear_count = raise_count, clear_count
        self.max_per_hour, self.cool_down_ns = max_per_hour, cool_down_ns
        self.recent: deque[float] = deque(maxlen=raise_window)
        self.starts: list[int] = []  # times of those that were reported
        self.ended: int | None = None
        self.peak: float | None = None  # None: quiet
        self.silent = False
        self.n_low = self.n_suppressed = self.last = 0

    def push(self, scores: Array, times_ns: npt.NDArray[np.int64]) -> list[Event]:
        """The events among the next ``scores``."""
        found = [
            self._push(i, score, time)
            for i, (score, time) in enumerate(zip(scores.tolist(), times_ns.tolist(), strict=True))
        ]
        return [event for event in found if event is not None]

    def _push(self, index: int, score: float, time: int) -> Event | None:
        self.last = time
        if self.peak is None:
            self.recent.append(score)
            high = [value for value in self.recent if value > self.threshold]
            rests = self.ended is not None and 0 <= time - self.ended < self.cool_down_ns
            return self._start(index, max(high), time) if self._is_enough(high, rests) else None
        self.peak = max(self.peak, score)
        self.n_low = self.n_low + 1 if score < self.clear_threshold else 0
        return self._end(index) if self.n_low >= self.clear_count else None

    def _is_enough(self, high: list[float], rests: bool) -> bool:
        return len(high) >= self.raise_count and not rests

    def _start(self, index: int, peak: float, time: int) -> Event | None:
        self.peak, self.n_low = peak, 0
        cap = self.max_per_hour
        # The cap-th start before this one is the oldest that an hour may hold.
        held = len(self.starts) >= cap and cap > 0 and 0 <= time - self.starts[-cap] < self.HOUR_NS
        self.silent = held
        if held:
            self.n_suppressed += 1
            return None
        self.starts.append(time)
        n, self.n_suppressed = self.n_suppressed, 0
        return Event("start", index, n, peak)

    def _end(self, index: int) -> Event | None:
        if self.peak is None:
            return None
        event = None if self.silent else Event("end", index, 0, self.peak)
        self.recent.clear()
        self.peak, self.ended = None, self.last
        return event

    def finish(self) -> Event | None:
        """The end of a running event."""
        return self._end(-1)
