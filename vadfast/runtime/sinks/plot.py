"""The score of one film over time as a PNG, with the alert threshold and the events.

Of a long film only the lowest and the highest score of each of some thousand spans is kept: the
picture could not show more, and memory stays the same for a day as for a minute.
"""

from pathlib import Path

from vadfast.atomic import atomic_file
from vadfast.runtime.alert import Event
from vadfast.runtime.manifest import AlertRule
from vadfast.runtime.session import ScoredFrame

MAX_SPANS = 4096  # about two per pixel column of the picture

_SIZE_INCH = (11.0, 3.6)
_DPI = 130
_SCORE, _THRESHOLD, _EVENT = "#1f4e79", "#c0392b", "#e74c3c"


class Curve:
    """A score over time in bounded memory: per span the first time, lowest and highest."""

    def __init__(self, max_spans: int = MAX_SPANS) -> None:
        """One frame per span at first; neighbours are joined when ``max_spans`` (even) are full."""
        self.times_s: list[float] = []
        self.lows: list[float] = []
        self.highs: list[float] = []
        self.frames_per_span = 1
        self._max_spans = max_spans
        self._n_in_last = 0

    def push(self, time_s: float, score: float) -> None:
        """Adds the next frame."""
        if self.times_s and self._n_in_last < self.frames_per_span:
            self.lows[-1] = min(self.lows[-1], score)
            self.highs[-1] = max(self.highs[-1], score)
            self._n_in_last += 1
            return
        if len(self.times_s) == self._max_spans:
            self.times_s = self.times_s[::2]
            self.lows = [min(a, b) for a, b in zip(self.lows[::2], self.lows[1::2], strict=True)]
            self.highs = [max(a, b) for a, b in zip(self.highs[::2], self.highs[1::2], strict=True)]
            self.frames_per_span *= 2
        self.times_s.append(time_s)
        self.lows.append(score)
        self.highs.append(score)
        self._n_in_last = 1


class ScorePlot:
    """Collects the scores and events of one film; ``write`` draws them."""

    def __init__(self, title: str, rule: AlertRule) -> None:
        """Nothing is drawn, and Matplotlib not loaded, before ``write``."""
        self._title = title
        self._rule = rule
        self._curve = Curve()
        self._events: list[Event] = []
        self._last_s = 0.0

    def add(self, scored: ScoredFrame, event: Event | None) -> None:
        """Takes the next frame and the event that it started or ended."""
        self._curve.push(scored.time_s, scored.score)
        self._last_s = scored.time_s
        if event is not None:
            self._events.append(event)

    def end(self, event: Event) -> None:
        """Takes the end of an event that was cut off by the end of the film."""
        self._events.append(event)

    def write(self, target: Path) -> None:
        """Draws the picture to ``target``."""
        # The object form, not pyplot: no global state, no display, safe in a thread.
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        curve, rule = self._curve, self._rule
        figure = Figure(figsize=_SIZE_INCH, dpi=_DPI, layout="constrained")
        axes = figure.add_subplot()
        for n, (start_s, end_s) in enumerate(self._spans()):
            axes.axvspan(
                start_s, end_s, color=_EVENT, alpha=0.18, lw=0, label=None if n else "event"
            )
        if curve.frames_per_span > 1:
            axes.fill_between(
                curve.times_s, curve.lows, curve.highs, color=_SCORE, alpha=0.35, lw=0
            )
        axes.plot(curve.times_s, curve.highs, color=_SCORE, lw=1.1, label="score")
        axes.axhline(
            rule.threshold,
            color=_THRESHOLD,
            lw=1.0,
            ls="--",
            label=f"threshold {rule.threshold:.3g}",
        )
        axes.set_title(self._title, parse_math=False)
        axes.set(xlabel="time [s]", ylabel="anomaly score")
        axes.margins(x=0.0)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        # Beside the curve, never on it.
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
        FigureCanvasAgg(figure)
        with atomic_file(target) as temporary:
            figure.savefig(temporary, format="png")

    def _spans(self) -> list[tuple[float, float]]:
        spans: list[tuple[float, float]] = []
        start_s: float | None = None
        for event in self._events:
            if event.kind == "start":
                start_s = event.time_s
            elif start_s is not None:
                spans.append((start_s, event.time_s))
                start_s = None
        if start_s is not None:  # the film broke off during an event
            spans.append((start_s, self._last_s))
        return spans
