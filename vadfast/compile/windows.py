"""The real windows that the race times, the gate compares and the golden self-test keeps.

Eager float32 is slow, so not every window of a data set is scored: short runs of consecutive frames
are, around the frames where labels change (there an error moves the AUC) and spread over held-out
normal video (there the threshold lies).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vadfast.data.datasets import Video
from vadfast.errors import SourceError
from vadfast.runtime.manifest import InputSpec
from vadfast.runtime.preprocess import Preprocess
from vadfast.runtime.source import Source
from vadfast.teachers.pictures import Pictures

# Windows; long enough for the causal smoothing to settle, short enough to take many runs.
RUN_LENGTH = 12
_LABELLED_SHARE = 5 / 8


@dataclass(frozen=True, slots=True)
class Tail:
    """The part of a training video that was never trained on: the frames of ``source`` from ``first`` on.

    It is no source itself: teachers remember what came before, so whoever scores it reads the whole one.
    """

    source: Source
    first: int

    @property
    def n_frames(self) -> int | None:
        """Of the tail alone."""
        return None if self.source.n_frames is None else max(self.source.n_frames - self.first, 0)


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """Which frames to score: ``n`` consecutive ones from frame ``first`` of ``source`` on."""

    source: Source
    first: int
    n: int
    labels: npt.NDArray[np.uint8] | None  # [n]; None on normal video


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive windows as one block of frames; window i is ``frames[i : i + T]`` and scores its last frame."""

    video: str
    first: int
    frames: npt.NDArray[np.uint8]  # [n + T - 1, H, W, 3]
    labels: npt.NDArray[np.uint8] | None  # [n]
    n_frames: int  # T
    taught: npt.NDArray[np.uint8] | None = (
        None  # [n, K, H, W, 3], the teachers' pictures of each window
    )

    def __len__(self) -> int:
        """How many windows the run has."""
        return len(self.frames) - self.n_frames + 1

    def window(self, index: int) -> npt.NDArray[np.uint8]:
        """Returns window ``index`` as a batch of one, uint8 [1, T + K, H, W, 3]; a view where there are no teachers."""
        frames = self.frames[None, index : index + self.n_frames]
        if self.taught is None:
            return frames
        return np.concatenate([frames, self.taught[None, index]], axis=1)

    def windows(self) -> Iterator[npt.NDArray[np.uint8]]:
        """Yields all windows in order."""
        return (self.window(index) for index in range(len(self)))


def plan_runs(
    labelled: Sequence[Video], normal: Sequence[Tail], *, window: int, n_windows: int
) -> list[PlannedRun]:
    """Chooses about ``n_windows`` windows; the same input gives the same choice."""
    n_runs = max(2, n_windows // RUN_LENGTH)
    changes = [(video, change) for video in labelled for change in _label_changes(video, window)]
    n_labelled = min(len(changes), round(n_runs * _LABELLED_SHARE))
    chosen = [changes[i] for i in spread(len(changes), n_labelled)]
    around = [_around(video, change, window) for video, change in chosen]
    return around + _normal_runs(normal, n_runs - n_labelled, window)


def read_run(plan: PlannedRun, spec: InputSpec) -> Run | None:
    """Decodes and resizes one run; None where the source ends before its first window (its length was only declared).

    Teachers see the source from its start, as they do when it is scored.
    """
    preprocess = Preprocess(spec)
    teach = Pictures(spec.teachers, plan.source.path) if spec.teachers else None
    begin, end = plan.first - spec.n_frames + 1, plan.first + plan.n
    frames, taught = [], []
    for frame in plan.source:
        if frame.index >= end:
            break
        if frame.index < begin and teach is None:
            continue
        image = preprocess(frame.image)
        pictures = teach(image, frame.index) if teach else None
        if frame.index >= begin:
            frames.append(image)
            taught.append(pictures)
    n = len(frames) - spec.n_frames + 1
    if n < 1:
        return None
    if plan.labels is not None and n < plan.n:
        raise SourceError(
            f"{plan.source.path}: must have frames up to {end - 1} like its labels, got {begin + len(frames)}; "
            "check that labels and video belong together"
        )
    return Run(
        plan.source.name, plan.first, np.stack(frames), plan.labels, spec.n_frames,
        np.stack([p for p in taught[spec.n_frames - 1 :] if p is not None]) if teach else None,
    )  # fmt: skip


def spread(n: int, k: int) -> list[int]:
    """Returns ``k`` of the places 0 .. n-1, as far apart as can be; all of them where there are no more.

    >>> spread(10, 2), spread(2, 5)
    ([2, 7], [0, 1])
    """
    k = min(n, k)
    return [(2 * i + 1) * n // (2 * k) for i in range(k)]


def _label_changes(video: Video, window: int) -> list[int]:
    if video.labels is None:
        return []
    changes = np.flatnonzero(np.diff(video.labels.astype(np.int8))) + 1
    return [int(change) for change in changes if change >= window]


def _around(video: Video, change: int, window: int) -> PlannedRun:
    assert video.labels is not None
    first = min(
        max(change - RUN_LENGTH // 2, window - 1), max(len(video.labels) - RUN_LENGTH, window - 1)
    )
    labels = video.labels[first : first + RUN_LENGTH]
    return PlannedRun(video.source, first, len(labels), labels)


def _normal_runs(normal: Sequence[Tail], n_runs: int, window: int) -> list[PlannedRun]:
    places = [i * len(normal) // n_runs for i in range(n_runs)] if normal else []
    plans = []
    for index in sorted(set(places)):
        tail, n_here = normal[index], places.count(index)
        n_scored = RUN_LENGTH if tail.n_frames is None else tail.n_frames - window + 1
        if n_scored < 1:
            continue
        # Runs of one video do not overlap: a short video gives fewer.
        n_here = max(1, min(n_here, n_scored // RUN_LENGTH))
        n = min(RUN_LENGTH, n_scored)
        for j in range(n_here):
            offset = (2 * j + 1) * n_scored // (2 * n_here) - n // 2
            plans.append(PlannedRun(tail.source, tail.first + window - 1 + max(offset, 0), n, None))
    return plans
