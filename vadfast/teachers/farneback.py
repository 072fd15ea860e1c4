"""Optical flow from the frame before, by OpenCV's Farneback on grey pictures."""

from pathlib import Path

import cv2
import numpy as np

from vadfast.teachers.settings import Farneback


class FarnebackTeacher:
    """Keeps the last grey frame; the first frame of a film has no flow."""

    def __init__(self, settings: Farneback, film: Path) -> None:
        s = settings
        self._options = (s.pyr_scale, s.levels, s.winsize, s.iterations, s.poly_n, s.poly_sigma, 0)
        self._before: np.ndarray | None = None

    def __call__(self, image: np.ndarray, index: int) -> np.ndarray:
        """Returns how each pixel moved since the last call, float32 [H, W, 2] in px (x, y)."""
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        before, self._before = self._before, grey
        if before is None:
            return np.zeros((*grey.shape, 2), np.float32)
        return cv2.calcOpticalFlowFarneback(before, grey, None, *self._options)
