"""How fast an evaluation was, beside how right: an accuracy without its cost says little about a camera."""

import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vadfast.data.datasets import Dataset
from vadfast.evaluate.protocols import VideoScores
from vadfast.evaluate.scoring import score_videos
from vadfast.evaluate.subject import Subject
from vadfast.runtime.engine import Engine, Outputs
from vadfast.teachers.pictures import TeacherCost

CAMERA_FPS = 25


@dataclass(frozen=True, slots=True)
class Speed:
    """Of one evaluation, on this machine, with whatever else ran on it."""

    frames_per_s: float  # with decoding, resizing and scoring, from film to score
    batch: int
    p50_ms: float  # of the engine alone, a batch at a time; its first call is left out
    p99_ms: float
    teachers: str = ""  # milliseconds a frame by teacher, where the model has teachers

    @property
    def cameras(self) -> int:
        """How many cameras of 25 frames/s that is."""
        return int(self.frames_per_s // CAMERA_FPS)


def score_timed(subject: Subject, dataset: Dataset) -> tuple[list[VideoScores], Speed]:
    """``score_videos``, and how long it took."""
    timed = _Timed(subject.engine)
    started = time.perf_counter()
    cost = TeacherCost()
    videos = score_videos(replace(subject, engine=timed), dataset, cost=cost)
    seconds = time.perf_counter() - started
    calls = np.array(timed.ms[1:] or timed.ms)
    p50, p99 = np.percentile(calls, [50, 99])
    n_frames = sum(len(video.labels) for video in videos)
    return videos, Speed(n_frames / seconds, timed.batch, float(p50), float(p99), cost.words)


class _Timed:
    """An engine that notes how long each call took."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.backend, self.precision, self.batch = engine.backend, engine.precision, engine.batch
        self.ms: list[float] = []

    def __call__(self, frames: NDArray[np.uint8]) -> Outputs:
        started = time.perf_counter()
        outputs = self._engine(frames)
        self.ms.append((time.perf_counter() - started) * 1000)
        return outputs

    def close(self) -> None:
        self._engine.close()
