"""Depth without a network: cameras look down on a plane, so what is lower in the picture is nearer."""

from pathlib import Path

import numpy as np

from vadfast.teachers.settings import GroundPlane


class GroundPlaneTeacher:
    """1 in the top row, 0 in the bottom row, the same in every frame."""

    def __init__(self, settings: GroundPlane, film: Path) -> None:
        pass

    def __call__(self, image: np.ndarray, index: int) -> np.ndarray:
        """Returns float32 [H, W]."""
        rows = np.linspace(1, 0, image.shape[0], dtype=np.float32)
        return np.broadcast_to(rows[:, None], image.shape[:2])
