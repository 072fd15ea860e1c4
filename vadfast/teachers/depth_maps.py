"""Depth from disk: what another program's network, or a surveyor, found."""

from pathlib import Path

import cv2
import numpy as np

from vadfast.errors import SourceError
from vadfast.teachers.settings import DepthMaps
from vadfast.teachers.stored import open_stored, stored_frame

_DEFAULT = "the ground plane (depth by row) needs no file"


class DepthMapsTeacher:
    """Reads ``NAME.npy``, float [h, w] for the whole film or [n_frames, h, w], from 0 (near) to 1 (far)."""

    def __init__(self, settings: DepthMaps, film: Path) -> None:
        self._film = film
        self._maps = open_stored(Path(settings.folder), film, key="depth", default=_DEFAULT)

    def __call__(self, image: np.ndarray, index: int) -> np.ndarray:
        """Returns float32 [H, W]."""
        one = self._maps.ndim == 2
        found = self._maps if one else stored_frame(self._maps, index, where=self._film)
        found = np.asarray(found, np.float32)
        if not (found.min() >= 0 and found.max() <= 1):  # also where one is not a number
            raise SourceError(
                f"{self._film}: depth must lie between 0 (near) and 1 (far), got {found.min():g} to {found.max():g} "
                f"in frame {index}; scale the maps"
            )
        return cv2.resize(found, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
