"""The progress line of ``vadfast.score`` on stderr: film, frames, frames/s and the time left.

Only on a terminal; a log file gets one line per film from the command instead.
"""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from vadfast.cli import talk
from vadfast.runtime.source import Source


class Meter:
    """One bar over all frames of all films; no total where a container does not declare it."""

    def __init__(self, sources: Sequence[Source]) -> None:
        """Counts what the sources declare; their true length may differ."""
        self._n_films = len(sources)
        self._n_started = 0
        self._done_before = 0
        self._in_film = 0
        counts = [source.n_frames for source in sources]
        known = [n for n in counts if n is not None]
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _RateColumn(),
            TimeRemainingColumn(),
            console=talk,
            transient=True,
            disable=not talk.is_terminal,
        )
        self._task = self._progress.add_task(
            "", total=sum(known) if len(known) == len(counts) else None
        )

    def __enter__(self) -> Self:
        """Shows the bar."""
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Takes the bar away."""
        self._progress.stop()

    def start(self, source: Source) -> None:
        """The next film begins."""
        self._n_started += 1
        self._in_film = 0
        self._progress.update(
            self._task, description=f"{self._n_started}/{self._n_films} {escape(source.name)}"
        )

    def advance(self) -> None:
        """One frame is scored."""
        self._in_film += 1
        self._progress.advance(self._task)

    def end(self, source: Source) -> None:
        """The film is over."""
        # Count what it declared, so that the time left stays right after a short or broken film.
        self._done_before += self._in_film if source.n_frames is None else source.n_frames
        self._progress.update(self._task, completed=self._done_before)


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f} frames/s")
