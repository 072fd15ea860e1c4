r"""From scores to what is normal and to events, by the compiled core (csrc/core/calibrate.cpp, hysteresis.cpp); no torch is needed.

Shapes

    scores      [n]     float64, high = abnormal, finite
    times_ns    [n]     int64, any

Numbers
    arithmetic  float64, the same bits on every machine: exp and log are the core's own.
    memory      24 KiB and the largest scores for a calibrator, the window of scores for an alert; nothing is allocated by a push.
    threads     one; the GIL is released while arrays are pushed.

Raises:
    ValueError    options, rules or scores that cannot be right; times that are not as many as scores; a question before there is an
                  answer; bytes that were not saved here.
    TypeError     scores that are not float64, times that are not int64, or something that is no array.
    BackendError  there is no compiled module.

    Where it raises, no state has changed.

Example:
    >>> import numpy as np
    >>> learner = Calibrator()
    >>> learner.push(np.linspace(0.0, 1.0, 10_001))
    >>> round(learner.quantile(0.25), 3), round(learner.tail(0.99), 3)
    (0.25, 0.01)
    >>> alert = Alert(threshold=3.0, clear_threshold=1.0, raise_count=2, raise_window=3, clear_count=1)
    >>> alert.push(np.array([4.0, 0.0, 5.0, 6.0, 0.5]), np.arange(5) * 40_000_000)
    [Event(kind='start', index=2, n_suppressed=0, peak=5.0), Event(kind='end', index=4, n_suppressed=0, peak=6.0)]
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from vadfast_kernels import _native

Array = npt.NDArray[np.float64]


class Calibrator:
    r"""What scores of normal video look like, in bounded memory.

    A new calibrator learns from every score; one that was restored watches. It keeps

        quantiles  a t-digest of 1,000 steps: a share q is off by less than 2 pi / 1000 sqrt(q (1 - q)) + 1 / n
        tail       P(score > u + z) = share (1 + shape z / scale)^(-1 / shape): a generalised Pareto distribution fitted to the excesses
                   over ``tail_quantile`` by probability-weighted moments; the shape is 0.5 at most
        middle     median and scale, which follow slow changes while it watches; quantiles and tail move and stretch with them

    Source: Dunning and Ertl, "Computing extremely accurate quantiles using t-digests", 2019; Hosking and Wallis, "Parameter and quantile
    estimation for the generalized Pareto distribution", 1987.

    Args:
        tail_quantile: in [0.5, 1): above it the fitted tail speaks.
        max_excesses: the tail is fitted to so many scores at most, the largest; 32 ... 16384.
        half_life_frames: in which the middle forgets half of what it knew; 0: it does not move.
        clip: one score moves it as if it were at most so many scales away.
        max_drift: how far the median may move and the scale grow in a half-life, in scales of the start; the scale shrinks by
            1 + max_drift at most, and never below a quarter of the start's.
    """

    def __init__(
        self,
        *,
        tail_quantile: float = 0.98,
        max_excesses: int = 1000,
        half_life_frames: float = 0.0,
        clip: float = 3.0,
        max_drift: float = 0.5,
    ) -> None:
        self._calibrator: Any = _native.module().Calibrator(
            tail_quantile=tail_quantile,
            max_excesses=max_excesses,
            half_life_frames=half_life_frames,
            clip=clip,
            max_drift=max_drift,
        )

    def push(self, scores: Array, *, frozen: bool = False) -> None:
        """Takes ``scores`` [n]; ``frozen`` (an alarm is on) leaves all as it is: an incident is not learned as normal."""
        self._calibrator.push(scores, frozen)

    @property
    def middle(self) -> tuple[float, float]:
        """Median, and scale (1.4826 x median absolute deviation)."""
        median, scale = self._calibrator.middle()
        return median, scale

    def quantile(self, q: float) -> float:
        """Returns the value below which a share ``q`` of the scores lies."""
        return self._calibrator.quantile(q)

    def tail(self, score: float) -> float:
        """Returns how likely a score of normal video is above ``score``."""
        return self._calibrator.tail(score)

    def threshold(self, probability: float) -> float:
        """Returns the score that one in 1 / ``probability`` scores of normal video exceeds.

        For n false alarms a day: n / (86400 x frames a second).
        """
        return self._calibrator.threshold(probability)

    def save(self) -> bytes:
        """Returns the state: little-endian, with a version and a checksum, the same bytes on every machine."""
        return self._calibrator.save()

    def restore(self, saved: bytes | bytearray | memoryview) -> None:
        """Takes a saved state, and watches from now on; raises ValueError and changes nothing where it is not one.

        Of the constructor's options ``half_life_frames``, ``clip`` and ``max_drift`` hold from now on; ``tail_quantile`` and
        ``max_excesses`` shaped what was saved, and are not asked again.
        """
        self._calibrator.restore(saved)


# ------------------------------------------------------------------------------------------------ events


@dataclass(frozen=True, slots=True)
class Event:
    """An event begins or ends with the frame that completes its evidence."""

    kind: Literal["start", "end"]
    index: int  # of the frame among those pushed in this call; -1: the film is over
    n_suppressed: int  # of a start: how many the cap kept back since the last
    peak: float  # highest score of the event so far, from the first of those that raised it


class Alert:
    """The hysteresis of one camera: from scores to events, with a rest after each and a cap for an hour.

    Args:
        threshold: a score above it is evidence.
        clear_threshold: a score below it is evidence that all is well again; at most ``threshold``.
        raise_count: so many of the last ``raise_window`` scores raise.
        raise_window: scores.
        clear_count: so many in a row clear.
        max_per_hour: starts in any 3600 s, the rest is counted; 0: no cap.
        cool_down_ns: after an end nothing starts for so long.
    """

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
        self._alert: Any = _native.module().Alert(
            threshold=threshold,
            clear_threshold=clear_threshold,
            raise_count=raise_count,
            raise_window=raise_window,
            clear_count=clear_count,
            max_per_hour=max_per_hour,
            cool_down_ns=cool_down_ns,
        )

    @property
    def active(self) -> bool:
        """Whether an event runs, reported or kept back: what a calibrator is frozen by."""
        return self._alert.active

    def push(self, scores: Array, times_ns: npt.NDArray[np.int64]) -> list[Event]:
        """Takes the next ``scores`` [n] and returns the events among them."""
        found = self._alert.push(scores, times_ns)
        return [Event(_word(kind), i, n, peak) for i, kind, n, peak in found]

    def finish(self) -> Event | None:
        """Ends a running event (the film is over) and returns its end."""
        found = self._alert.finish()
        return None if found is None else Event(_word(found[0]), -1, found[1], found[2])


def _word(kind: int) -> Literal["start", "end"]:
    """VAD_EVENT_* of csrc/include/vadfast/score.h in words."""
    return "start" if kind == _native.module().EVENT_START else "end"
