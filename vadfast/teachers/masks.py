"""Class indices from disk: what another program's segmentation found."""

from pathlib import Path

import cv2
import numpy as np

from vadfast.errors import SourceError
from vadfast.teachers.settings import Masks
from vadfast.teachers.stored import open_stored, stored_frame

_DEFAULT = "background subtraction (mog2) needs no file"


class MasksTeacher:
    """Reads ``NAME.npy``, bool or uint8 [n_frames, h, w], and brings each map to the frame's size without mixing classes."""

    def __init__(self, settings: Masks, film: Path) -> None:
        self._film, self._n_classes = film, settings.n_classes
        self._maps = open_stored(Path(settings.folder), film, key="segmentation", default=_DEFAULT)
        if self._maps.dtype not in (np.bool_, np.uint8):
            raise SourceError(
                f"{film}: masks must be bool or uint8, got {self._maps.dtype}; write them again"
            )

    def __call__(self, image: np.ndarray, index: int) -> np.ndarray:
        """Returns the class index of each pixel, uint8 [H, W]."""
        found = stored_frame(self._maps, index, where=self._film).astype(np.uint8)
        if found.max(initial=0) >= self._n_classes:
            raise SourceError(
                f"{self._film}: masks must hold classes 0 to {self._n_classes - 1}, frame {index} has {found.max()}; "
                "set segmentation.n_classes"
            )
        return cv2.resize(found, image.shape[1::-1], interpolation=cv2.INTER_NEAREST)
