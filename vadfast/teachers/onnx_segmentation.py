"""Instances by an ONNX network with the outputs of torchvision's Mask R-CNN, painted into one map of groups."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vadfast.errors import BackendError
from vadfast.teachers.coco import paint
from vadfast.teachers.onnx_session import open_network
from vadfast.teachers.settings import OnnxSegmentation

_SOURCE = "torch.onnx.export of torchvision's maskrcnn_resnet50_fpn (docs/methods.md)"
_DEFAULT = "background subtraction (mog2) needs no network"


class OnnxSegmentationTeacher:
    """RGB in [0, 1] as [3, h, w] or [1, 3, h, w] goes in, at the network's size where its file fixes one; instances come out.

    They are labels [n] of integers, scores [n] and masks [n, 1, h, w] or [n, h, w]. Outputs are known by their kind, not by their names; others (boxes) are left alone.
    """

    def __init__(self, settings: OnnxSegmentation, film: Path) -> None:
        self._path, self._min_score = settings.path, settings.min_score
        self._network = open_network(
            settings.path, key="segmentation", source=_SOURCE, default=_DEFAULT
        )

    def __call__(self, image: np.ndarray, index: int) -> np.ndarray:
        """Returns the group of each pixel, uint8 [H, W]."""
        outputs = self._network.run(image.astype(np.float32) / 255)
        labels, scores, masks = self._instances(outputs)
        if not len(labels):
            return np.zeros(image.shape[:2], np.uint8)
        found = paint(labels, scores, masks, min_score=self._min_score)
        return cv2.resize(found, image.shape[1::-1], interpolation=cv2.INTER_NEAREST)

    def _instances(self, outputs: list[Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        labels = [y for y in outputs if y.ndim == 1 and y.dtype.kind in "iu"]
        scores = [y for y in outputs if y.ndim == 1 and y.dtype.kind == "f"]
        masks = [y for y in outputs if y.ndim == 4 and y.shape[1] == 1] + [
            y[:, None] for y in outputs if y.ndim == 3
        ]
        if [len(labels), len(scores), len(masks)] != [1, 1, 1]:
            shapes = ", ".join(f"{y.dtype} {list(y.shape)}" for y in outputs)
            raise BackendError(
                f"{self._path}: must return labels [n] of integers, scores [n] and masks [n, 1, h, w] of the whole picture, "
                f"got {shapes}; export it as torchvision's Mask R-CNN is"
            )
        return labels[0], scores[0], masks[0][:, 0]
