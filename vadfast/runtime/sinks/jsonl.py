"""JSON lines: one per scored frame, per start and end of an event, and per video that failed."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from vadfast.atomic import atomic_file
from vadfast.runtime.alert import Event
from vadfast.runtime.manifest import Component
from vadfast.runtime.session import ScoredFrame


@contextmanager
def json_lines(target: Path | None, spec: Sequence[Component]) -> Iterator["JsonLines"]:
    """Opens ``target``, which appears when all lines are in it; None is standard output."""
    if target is None:
        yield JsonLines(sys.stdout, spec, flush=True)
        return
    with atomic_file(target) as temporary, temporary.open("w", encoding="utf-8") as stream:
        yield JsonLines(stream, spec, flush=False)


class JsonLines:
    """Writes the lines; their keys are fixed, more may be added beside them."""

    def __init__(self, stream: TextIO, spec: Sequence[Component], *, flush: bool) -> None:
        """Use ``json_lines``."""
        self._stream = stream
        self._names = [component.name for component in spec]
        self._flush = flush

    def score(self, video: str, scored: ScoredFrame) -> None:
        """Writes a scored frame."""
        components = {n: _short(v) for n, v in zip(self._names, scored.components, strict=True)}
        self._write(
            video=video,
            frame=scored.frame,
            time_s=round(scored.time_s, 6),
            score=scored.score,
            components=components,
        )

    def event(self, video: str, event: Event) -> None:
        """Writes the start or the end of an event."""
        self._write(
            video=video,
            event=event.kind,
            frame=event.frame,
            time_s=round(event.time_s, 6),
            peak=event.peak,
        )

    def error(self, video: str, message: str) -> None:
        """Writes why a video has no (further) scores."""
        self._write(video=video, error=message)

    def _write(self, **values: Any) -> None:
        # ASCII: a file name that is not UTF-8 has characters that no encoding could write. A NaN is
        # not JSON; it cannot come this far, and if it does it must not be written.
        self._stream.write(json.dumps(values, ensure_ascii=True, allow_nan=False) + "\n")
        if self._flush:
            self._stream.flush()


def _short(value: Any) -> float:
    # 9 significant digits give every float32 back exactly; its float64 form would print 17.
    return float(f"{float(value):.9g}")
