"""Progress with rate and time left on stderr: a bar in a terminal, a line every ten seconds in a log.

Every long command shows it the same way; work that takes less than ten seconds leaves no line in a log.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vadfast.cli import talk

_LINE_EVERY_S = 10.0


class Steps:
    """Counts the steps of one task; ``total`` is None where nobody knows it."""

    def __init__(self, bar: Progress, name: str, total: int | None, unit: str, first: int) -> None:
        """Use ``steps``."""
        self._bar, self._name, self._unit, self._detail = bar, name, unit, ""
        self._task = bar.add_task(escape(name), total=total, completed=first, detail="")
        self._total, self._first, self._done = total, first, first
        self._start = self._said = time.monotonic()

    def advance(self, n: int = 1) -> None:
        """Says that ``n`` more steps are done."""
        self.update(self._done + n)

    def expect(self, n: int) -> None:
        """Says that ``n`` steps more than thought are to be done."""
        self.update(self._done, total=None if self._total is None else self._total + n)

    def rename(self, name: str) -> None:
        """Says what the steps are from now on part of: the film at hand."""
        self._name = name

    def update(self, done: int, *, total: int | None = None, detail: str = "") -> None:
        """Says that ``done`` steps are done in all; ``total`` and ``detail`` change where they are given."""
        now = time.monotonic()
        self._done, self._total = done, total or self._total
        self._detail = detail or self._detail
        shown = "  ".join(text for text in (self._rate(now), self._detail) if text)
        self._bar.update(
            self._task,
            completed=done,
            total=self._total,
            description=escape(self._name),
            detail=escape(shown),
        )
        if not talk.is_terminal and now - self._said >= _LINE_EVERY_S:
            self._said = now
            talk.print(escape(self._line(now)))

    def _line(self, now: float) -> str:
        parts = [f"{self._name}: {self._done:,}"]
        new = self._done - self._first
        if self._total is not None:
            parts[0] += f" of {self._total:,}"
            left = (now - self._start) * (self._total - self._done) / max(new, 1)
            parts.append(f"about {left:.0f} s left")
        parts[0] += f" {self._unit}"
        return ", ".join(p for p in (*parts, self._rate(now), self._detail) if p)

    def _rate(self, now: float) -> str:
        seconds, new = now - self._start, self._done - self._first
        return f"{new / seconds:.3g} {self._unit}/s" if new and seconds > 0 else ""


@contextmanager
def steps(name: str, total: int | None, *, unit: str = "steps", first: int = 0) -> Iterator[Steps]:
    """Shows the progress of the task ``name`` while the block runs; ``first`` steps were done before."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[detail]}"),
    )
    with Progress(*columns, console=talk, disable=not talk.is_terminal, transient=True) as bar:
        yield Steps(bar, name, total, unit, first)
