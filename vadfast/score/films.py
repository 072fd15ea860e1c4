"""The work of ``vadfast.score``: film after film through one engine, into lines and pictures.

A film that cannot be read is reported, in words and as a JSON line, and the next one follows;
anything else stops the command.
"""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from vadfast.cli import talk
from vadfast.errors import SourceError, UsageError
from vadfast.progress import Steps, steps
from vadfast.runtime.alert import Alert, Event
from vadfast.runtime.bundle import open_bundle
from vadfast.runtime.engine import Engine, open_engine
from vadfast.runtime.manifest import Manifest
from vadfast.runtime.session import ScoredFrame, score_source
from vadfast.runtime.signature import Trust
from vadfast.runtime.sinks.jsonl import JsonLines, json_lines
from vadfast.runtime.sinks.plot import ScorePlot
from vadfast.runtime.source import VIDEO_SUFFIXES, Source, find_sources
from vadfast.teachers.pictures import TeacherCost

if TYPE_CHECKING:
    from vadfast.runtime.sinks.overlay import Overlay

# Beyond this the motion between two frames is no longer what the model was trained on.
_FPS_TOLERANCE = 1.25


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to write, and where."""

    out: Path | None = None
    jsonl: Path | None = None
    plot: bool = False
    overlay: bool = False

    def __post_init__(self) -> None:
        """Raises UsageError when there is no folder to write pictures into."""
        for name, on in (("--plot", self.plot), ("--overlay", self.overlay)):
            if on and self.out is None:
                raise UsageError(f"{name}: needs a folder to write into, got none; add --out DIR")

    @property
    def lines(self) -> Path | None:
        """The file of the JSON lines; None is standard output."""
        if self.jsonl is not None:
            return None if str(self.jsonl) == "-" else self.jsonl
        return None if self.out is None else self.out / "scores.jsonl"


def score_films(
    bundle_path: Path,
    videos: Sequence[Path],
    wanted: Wanted,
    *,
    backend: str = "auto",
    threads: int | None = None,
    trust: Trust | None = None,
) -> int:
    """Scores every film found in ``videos``; returns how many could not be read to their end.

    ``trust`` says whose bundles are opened; None: those of keys that the machine trusts.

    Raises:
        UsageError: a path holds no film.
        BundleError: the bundle is damaged, or of nobody that is trusted.
        BackendError: no engine of the bundle runs here, or it gives other scores than it should.
    """
    sources = find_sources(videos)
    counts = [source.n_frames for source in sources]
    known = [n for n in counts if n is not None]
    bundle = open_bundle(bundle_path, trust)
    with _quiet_pipe(), ExitStack() as stack:
        engine = open_engine(bundle, backend=backend, threads=threads)
        stack.callback(engine.close)
        lines = stack.enter_context(json_lines(wanted.lines, bundle.manifest.components))
        total = sum(known) if len(known) == len(counts) else None
        bar = stack.enter_context(steps("score", total, unit="frames"))
        job = _Job(engine, bundle.manifest, wanted, lines, bar, len(sources))
        n_failed = sum(not job.run(source) for source in sources)
    if wanted.lines is not None:
        talk.print(f"scores: {escape(str(wanted.lines))}")
    if n_failed:
        talk.print(
            f"[bold red]{n_failed} of {len(sources)} films could not be read to their end[/] (see "
            "above)"
        )
    return n_failed


@dataclass(slots=True)
class _Job:
    engine: Engine
    manifest: Manifest
    wanted: Wanted
    lines: JsonLines
    bar: Steps
    n_films: int
    _n_declared: int = 0  # frames of the films before, as they declare them
    _used: set[str] = field(default_factory=set)

    def run(self, source: Source) -> bool:
        """Scores one film; returns whether it was read to its end."""
        self._warn_of_rate(source)
        film = _Film(source.name)
        plot = ScorePlot(source.name, self.manifest.alert) if self.wanted.plot else None
        stem = self._stem(source.name)
        self.bar.rename(f"score {source.name} ({len(self._used)} of {self.n_films})")
        fault: SourceError | None = None
        try:
            with ExitStack() as stack:
                fault = self._score(source, film, plot, self._overlay(stack, source, stem))
        except SourceError as error:  # not one frame scored: there is nothing to draw
            fault = error
        else:
            if plot is not None and self.wanted.out is not None:
                plot.write(self.wanted.out / f"{stem}-scores.png")
        # What it declared, so that the time left stays right after a short or broken film.
        self._n_declared += film.n_frames if source.n_frames is None else source.n_frames
        self.bar.update(self._n_declared)
        if film.n_frames:
            talk.print(escape(film.summary()))
        if fault is not None:
            self.lines.error(source.name, str(fault))
            talk.print(f"[bold red]error:[/] {escape(str(fault))}")
        return fault is None

    def _score(
        self, source: Source, film: "_Film", plot: ScorePlot | None, overlay: "Overlay | None"
    ) -> SourceError | None:
        alert = Alert(self.manifest.alert)
        fault: SourceError | None = None
        scored: ScoredFrame | None = None
        try:
            for scored in score_source(self.engine, self.manifest, source, cost=film.teachers):
                event = alert.push(scored.score, scored.frame, scored.time_s)
                film.add(scored, event)
                self.lines.score(source.name, scored)
                if event is not None:
                    self.lines.event(source.name, event)
                if plot is not None:
                    plot.add(scored, event)
                if overlay is not None:
                    overlay.add(scored, in_event=alert.active)
                self.bar.advance()
        except SourceError as error:
            if scored is None:
                raise
            fault = error  # what was good before the fault is kept
        if (event := alert.finish()) is not None and scored is not None:
            self.lines.event(source.name, event)
            if plot is not None:
                plot.end(event)
        return fault

    def _overlay(self, stack: ExitStack, source: Source, stem: str) -> "Overlay | None":
        if not self.wanted.overlay or self.wanted.out is None:
            return None
        from vadfast.runtime.sinks.overlay import overlay_video

        target = self.wanted.out / f"{stem}-overlay.mp4"
        return stack.enter_context(overlay_video(target, source, self.manifest.alert))

    def _stem(self, name: str) -> str:
        suffix = Path(name).suffix
        plain = name.removesuffix(suffix) if suffix.lower() in VIDEO_SUFFIXES else name
        base = stem = plain.replace("/", "_").replace("\\", "_").lstrip(".") or "film"
        n = 1
        while stem in self._used:
            n += 1
            stem = f"{base}-{n}"
        self._used.add(stem)
        return stem

    def _warn_of_rate(self, source: Source) -> None:
        trained = self.manifest.input.fps
        if trained is None or source.fps is None:
            return
        ratio = source.fps / trained
        if not 1 / _FPS_TOLERANCE <= ratio <= _FPS_TOLERANCE:
            talk.print(
                f"[yellow]note:[/] {escape(source.name)} has {source.fps:.3g} frames/s, the model "
                "was trained at "
                f"{trained:.3g}; its motion looks {'slower' if ratio > 1 else 'faster'} to the "
                "model"
            )


@dataclass(slots=True)
class _Film:
    name: str
    n_frames: int = 0
    n_events: int = 0
    peak: float = float("-inf")
    peak_frame: int = 0
    teachers: TeacherCost = field(default_factory=TeacherCost)
    _start_s: float = field(default_factory=time.perf_counter)

    def add(self, scored: ScoredFrame, event: Event | None) -> None:
        self.n_frames += 1
        self.n_events += event is not None and event.kind == "start"
        if scored.score > self.peak:
            self.peak, self.peak_frame = scored.score, scored.frame

    def summary(self) -> str:
        seconds = time.perf_counter() - self._start_s
        return (
            f"{self.name}: {self.n_frames} frames scored in {seconds:.1f} s "
            f"({self.n_frames / seconds:.1f} frames/s), "
            f"highest score {self.peak:.2f} at frame {self.peak_frame}, "
            f"{self.n_events} event{'' if self.n_events == 1 else 's'}"
            + (
                f"; teachers took {taught} ms a frame of it"
                if (taught := self.teachers.words)
                else ""
            )
        )


@contextmanager
def _quiet_pipe() -> Iterator[None]:
    """Ends without a word when the reader of standard output (``| head``) has seen enough."""
    try:
        yield
    except BrokenPipeError:
        # Python flushes stdout once more at exit; that must not fail a second time.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
