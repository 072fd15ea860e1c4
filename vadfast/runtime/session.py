"""Scores one source: a thread reads, the caller's runs the engine, a few buffers between them.

The buffers are the only bound: the reader waits for a free one, the engine for a full one, so
memory is the same for a clip and for a day. Nothing polls, and closing the iterator (or Ctrl-C, or
an error) ends the thread.
"""

import threading
from collections.abc import Generator
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vadfast.errors import BackendError, SourceError
from vadfast.runtime.engine import Engine
from vadfast.runtime.manifest import InputSpec, Manifest
from vadfast.runtime.score import ChainState
from vadfast.teachers.pictures import Pictures, TeacherCost

if TYPE_CHECKING:
    from vadfast.runtime.source import Source

# One batch at the engine, one ready, one being filled. More would only hide a stall longer than a
# batch takes.
N_BUFFERS = 3

# A reader that hangs in a dead network drive is left behind (it is a daemon) rather than keeping
# Ctrl-C waiting.
JOIN_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class RawScore:
    """What the model says about one frame, which is the last of its window."""

    frame: int
    time_s: float
    components: npt.NDArray[np.float32]  # [K]
    heatmap: npt.NDArray[np.float32]  # [h, w]


@dataclass(frozen=True, slots=True)
class ScoredFrame:
    """A frame with its score by the causal chain: high = abnormal."""

    frame: int
    time_s: float
    components: npt.NDArray[np.float32]  # [K]
    heatmap: npt.NDArray[np.float32]  # [h, w]
    score: float


def raw_scores(
    engine: Engine,
    spec: InputSpec,
    source: "Source",
    *,
    first: int = 0,
    cost: TeacherCost | None = None,
) -> Generator[RawScore, None, None]:
    """Yields one result per frame, in order, from frame ``first + spec.n_frames - 1`` on; adds what its teachers take to ``cost``.

    No window reaches before frame ``first``. Teachers see the frames before it, too: what they remember is part of what they say.

    Raises:
        SourceError: from the source, after every frame before the fault was yielded; or the source
            has no window from frame ``first`` on.
        BackendError: the engine returned a value that is not finite, also in a heat map, or a teacher cannot run here.
        UsageError: a teacher lacks a file.
    """
    free: SimpleQueue[_Batch | None] = SimpleQueue()
    ready: SimpleQueue[_Batch | _End] = SimpleQueue()
    for _ in range(N_BUFFERS):
        free.put(_Batch.empty(engine.batch, spec))
    stop = threading.Event()
    reader = threading.Thread(
        target=_read,
        args=(spec, source, first, cost, free, ready, stop),
        name=f"read {source.name}",
        daemon=True,
    )
    reader.start()
    try:
        while isinstance(batch := ready.get(), _Batch):
            results = _infer(engine, batch)
            free.put(batch)
            yield from results
        if batch.error is not None:
            raise batch.error
        if batch.n_frames < spec.n_frames:
            where = f" from frame {first} on" if first else ""
            raise SourceError(
                f"{source.name}: must have at least {spec.n_frames} frames{where} (the model looks at "
                f"{spec.n_frames} at once), "
                f"got {batch.n_frames}; give a longer video"
            )
    finally:
        stop.set()
        free.put(None)
        reader.join(JOIN_TIMEOUT_S)


def score_source(
    engine: Engine, manifest: Manifest, source: "Source", *, cost: TeacherCost | None = None
) -> Generator[ScoredFrame, None, None]:
    """Yields the frames with the score of the causal chain; raises like ``raw_scores``."""
    chain = ChainState(manifest.causal_chain, manifest.components, manifest.calibration)
    for raw in raw_scores(engine, manifest.input, source, cost=cost):
        score = chain.push(raw.components)
        yield ScoredFrame(raw.frame, raw.time_s, raw.components, raw.heatmap, score)


@dataclass(slots=True)
class _Batch:
    frames: npt.NDArray[
        np.uint8
    ]  # [batch, T + K, H, W, 3]: camera frames, then what K teachers' pictures show
    # Frame, time_s of each filled window.
    stamps: list[tuple[int, float]] = field(default_factory=list)

    @classmethod
    def empty(cls, batch: int, spec: InputSpec) -> "_Batch":
        return cls(np.zeros((batch, spec.n_pictures, spec.height, spec.width, 3), np.uint8))


@dataclass(frozen=True, slots=True)
class _End:
    n_frames: int
    error: Exception | None


def _read(
    spec: InputSpec,
    source: "Source",
    first: int,
    cost: TeacherCost | None,
    free: "SimpleQueue[_Batch | None]",
    ready: "SimpleQueue[_Batch | _End]",
    stop: threading.Event,
) -> None:
    n_frames = 0
    batch: _Batch | None = None
    error: Exception | None = None
    try:
        from vadfast.runtime.preprocess import Preprocess
        from vadfast.runtime.window import Window

        preprocess, window = Preprocess(spec), Window(spec)
        teach = Pictures(spec.teachers, source.path, cost) if spec.teachers else None
        for frame in source:
            if stop.is_set():
                return
            if frame.index < first and teach is None:
                continue
            seen = preprocess(frame.image, window.slot())
            taught = teach(seen, frame.index) if teach else None
            if frame.index < first:
                continue
            view = window.commit()
            n_frames += 1
            if view is None:
                continue
            if batch is None and (batch := free.get()) is None:
                return
            batch.frames[len(batch.stamps), : spec.n_frames] = view
            if taught is not None:
                batch.frames[len(batch.stamps), spec.n_frames :] = taught
            batch.stamps.append((frame.index, frame.time_s))
            if len(batch.stamps) == len(batch.frames):
                ready.put(batch)
                batch = None
    # Handed to the caller's thread, which raises it after the good frames.
    except Exception as fault:
        error = fault
    finally:
        if batch is not None and batch.stamps:
            ready.put(batch)
        ready.put(_End(n_frames, error))


def _infer(engine: Engine, batch: _Batch) -> list[RawScore]:
    # A short last batch is padded by what lies in the buffer (an earlier window or zeros) and cut
    # below.
    outputs = engine(batch.frames)
    results = [
        RawScore(frame, time_s, components, heatmap)
        for (frame, time_s), components, heatmap in zip(
            batch.stamps, outputs.components, outputs.heatmap, strict=False
        )
    ]
    batch.stamps.clear()
    for result in results:
        if not np.isfinite(result.components).all():
            raise BackendError(
                f"{engine.backend} {engine.precision}: components must be finite, got "
                f"{result.components.tolist()} "
                f"at frame {result.frame}; try another --backend"
            )
        wrong = result.heatmap.size - np.count_nonzero(np.isfinite(result.heatmap))
        if wrong:
            raise BackendError(
                f"{engine.backend} {engine.precision}: the heat map must be finite, {wrong} of its {result.heatmap.size} values are not "
                f"at frame {result.frame}; try another --backend"
            )
    return results
