"""From scores to events: raised by k of the last n scores, cleared by m low ones in a row.

An event is reported with the frame that completes its evidence, never with an earlier one: what a
camera says must not depend on what comes later.
"""

from collections import deque
from dataclasses import dataclass
from typing import Literal

from vadfast.runtime.manifest import AlertRule


@dataclass(frozen=True, slots=True)
class Event:
    """An event begins or ends with this frame."""

    kind: Literal["start", "end"]
    frame: int
    time_s: float
    peak: float  # highest score of the event so far, from the first of the scores that raised it


class Alert:
    """The hysteresis of one camera or film."""

    def __init__(self, rule: AlertRule) -> None:
        """Starts quiet."""
        self._rule = rule
        self._recent: deque[float] = deque(maxlen=rule.raise_window)
        self._peak: float | None = None  # None: quiet
        self._n_low = 0
        self._last = (0, 0.0)

    @property
    def active(self) -> bool:
        """Whether an event is going on."""
        return self._peak is not None

    def push(self, score: float, frame: int, time_s: float) -> Event | None:
        """Takes the next score and returns the event that it starts or ends, if any."""
        self._last = (frame, time_s)
        if self._peak is None:
            return self._wait(score)
        self._peak = max(self._peak, score)
        self._n_low = self._n_low + 1 if score < self._rule.clear_threshold else 0
        return self.finish() if self._n_low >= self._rule.clear_count else None

    def finish(self) -> Event | None:
        """Ends a running event at the last frame (the film is over) and returns its end."""
        if self._peak is None:
            return None
        event = Event("end", *self._last, self._peak)
        # The old scores are evidence for the old event only.
        self._recent.clear()
        self._peak, self._n_low = None, 0
        return event

    def _wait(self, score: float) -> Event | None:
        self._recent.append(score)
        high = [value for value in self._recent if value > self._rule.threshold]
        if len(high) < self._rule.raise_count:
            return None
        self._peak = max(high)
        return Event("start", *self._last, self._peak)
