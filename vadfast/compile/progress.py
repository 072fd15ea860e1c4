"""Progress with the time left on stderr: a bar in a terminal, a line every ten seconds in a log."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vadfast.cli import talk

_LINE_EVERY_S = 10.0


class Steps:
    """Counts the steps of one task of known length."""

    def __init__(self, bar: Progress, name: str, total: int) -> None:
        """Use ``steps``."""
        self._bar = bar
        self._task = bar.add_task(name, total=total)
        self._name, self._total, self._done = name, total, 0
        self._start = self._said = time.monotonic()

    def advance(self) -> None:
        """Says that one more step is done."""
        self._done += 1
        self._bar.advance(self._task)
        now = time.monotonic()
        if talk.is_terminal or now - self._said < _LINE_EVERY_S:
            return
        self._said = now
        left = (now - self._start) / self._done * (self._total - self._done)
        talk.print(f"{self._name}: {self._done} of {self._total}, about {left:.0f} s left")


@contextmanager
def steps(name: str, total: int) -> Iterator[Steps]:
    """Shows the progress of the task ``name`` while the block runs."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=talk, disable=not talk.is_terminal, transient=True) as bar:
        yield Steps(bar, name, total)
