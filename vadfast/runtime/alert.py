"""From scores to events: raised by k of the last n scores, cleared by m low ones in a row (csrc/core/hysteresis.cpp).

An event is reported with the frame that completes its evidence, never with an earlier one: what a
camera says must not depend on what comes later.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from vadfast_kernels.score_chain import watch

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
        self._alert = watch.Alert(**rule.model_dump())
        self._last = (0, 0.0)

    @property
    def active(self) -> bool:
        """Whether an event is going on."""
        return self._alert.active

    def push(self, score: float, frame: int, time_s: float) -> Event | None:
        """Takes the next score and returns the event that it starts or ends, if any."""
        self._last = (frame, time_s)
        time_ns = np.array([round(time_s * 1e9)])
        events = self._alert.push(np.array([score], np.float64), time_ns)
        return self._event(events[0]) if events else None

    def finish(self) -> Event | None:
        """Ends a running event at the last frame (the film is over) and returns its end."""
        event = self._alert.finish()
        return None if event is None else self._event(event)

    def _event(self, event: watch.Event) -> Event:
        return Event(event.kind, *self._last, event.peak)
