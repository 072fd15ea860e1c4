"""Depth by an ONNX network of MiDaS's kind, once per scene: the camera stands still, so the median of a few maps is kept."""

from pathlib import Path

import cv2
import numpy as np

from vadfast.errors import BackendError
from vadfast.teachers.onnx_session import open_network
from vadfast.teachers.settings import OnnxDepth

_SOURCE = "https://github.com/isl-org/MiDaS/releases (model-small.onnx)"
_DEFAULT = "the ground plane (depth by row) needs no network"
_NEAR, _FAR = 99.0, 1.0  # percentiles of the inverse depth of a scene that become 0 and 1


class OnnxDepthTeacher:
    """Normalised RGB [1, 3, h, w] goes in; relative inverse depth [1, h, w] or [1, 1, h, w] comes out."""

    def __init__(self, settings: OnnxDepth, film: Path) -> None:
        self._settings = settings
        self._network = open_network(settings.path, key="depth", source=_SOURCE, default=_DEFAULT)
        self._seen: list[np.ndarray] = []
        self._depth = np.zeros((1, 1), np.float32)

    def __call__(self, image: np.ndarray, index: int) -> np.ndarray:
        """Returns float32 [H, W]: 0 near, 1 far; the median of the maps so far, until there are enough of them."""
        if len(self._seen) < self._settings.n_frames:
            self._seen.append(self._inverse_depth(image))
            scene = np.median(self._seen, axis=0)
            near, far = np.percentile(scene, [_NEAR, _FAR])
            if near > far:
                self._depth = ((near - scene) / (near - far)).clip(0, 1).astype(np.float32)
            else:
                self._depth = np.zeros_like(scene, np.float32)  # all is equally far
        return self._depth

    def _inverse_depth(self, image: np.ndarray) -> np.ndarray:
        side = self._settings.side_px
        size = (self._network.width or side, self._network.height or side)
        x = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        mean, std = (np.array(v, np.float32) for v in (self._settings.mean, self._settings.std))
        found = self._network.run((x - mean) / std)[0].squeeze()
        if found.ndim != 2 or not np.isfinite(found).all():
            raise BackendError(
                f"{self._settings.path}: must return finite inverse depth [1, h, w], got {list(found.shape)}; "
                "export a network of MiDaS's kind"
            )
        return cv2.resize(found.astype(np.float32), image.shape[1::-1])
