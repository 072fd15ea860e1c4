"""The pictures that follow the frames of a window: all teachers of one film, each with its own clock."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vadfast.teachers.codes import flow_picture, scene_picture
from vadfast.teachers.settings import TeacherSettings
from vadfast.teachers.teacher import open_teacher


@dataclass(slots=True)
class TeacherCost:
    """What the teachers took, apart from the model: filled by whoever runs them."""

    n_frames: int = 0
    seconds: dict[str, float] = field(default_factory=dict)  # by teacher

    @property
    def words(self) -> str:
        """Milliseconds a frame, as ``farneback 3.1, mog2 0.8``; empty where no teacher ran."""
        return ", ".join(
            f"{name} {1e3 * seconds / self.n_frames:.1f}" for name, seconds in self.seconds.items()
        )

    def add(self, other: "TeacherCost") -> None:
        """Adds what another film took."""
        self.n_frames += other.n_frames
        for name, seconds in other.seconds.items():
            self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Adds the time inside to teacher ``name``."""
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


class Pictures:
    """Makes the pictures of each frame of one film, seen in order."""

    def __init__(
        self, settings: TeacherSettings, film: Path, cost: TeacherCost | None = None
    ) -> None:
        """Raises UsageError or BackendError where a teacher lacks what it needs."""
        self._settings = settings
        self._flow, self._segmentation, self._depth = (
            open_teacher(t, film) for t in (settings.flow, settings.segmentation, settings.depth)
        )
        self._cost = TeacherCost() if cost is None else cost

    def __call__(self, image: np.ndarray, index: int) -> np.ndarray:
        """Returns uint8 [2, H, W, 3] (``codes.py``) of frame ``index``, ``image`` uint8 RGB [H, W, 3] at the model's size."""
        of = self._cost.of
        with of(self._settings.flow.teacher):
            flow = self._flow(image, index)
        with of(self._settings.segmentation.teacher):
            classes = self._segmentation(image, index)
        with of(self._settings.depth.teacher):
            depth = self._depth(image, index)
        with of("coding"):
            pictures = np.stack(
                [
                    flow_picture(flow, classes, self._settings.flow_max_px),
                    scene_picture(classes, depth),
                ]
            )
        self._cost.n_frames += 1
        return pictures
