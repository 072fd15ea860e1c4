"""What a teacher is, and where each kind is found: one film has teachers of its own, so what they remember ends with it."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from vadfast.teachers.settings import AnyTeacher

# Kind -> "module:class"; imported when it is chosen.
TEACHERS = {
    "farneback": "vadfast.teachers.farneback:FarnebackTeacher",
    "mog2": "vadfast.teachers.mog2:Mog2Teacher",
    "masks": "vadfast.teachers.masks:MasksTeacher",
    "onnx-segmentation": "vadfast.teachers.onnx_segmentation:OnnxSegmentationTeacher",
    "mask-rcnn": "vadfast.teachers.mask_rcnn:MaskRCNNTeacher",
    "ground-plane": "vadfast.teachers.ground_plane:GroundPlaneTeacher",
    "depth-maps": "vadfast.teachers.depth_maps:DepthMapsTeacher",
    "onnx-depth": "vadfast.teachers.onnx_depth:OnnxDepthTeacher",
}


class Teacher(Protocol):
    """Sees the frames of one film in order, from the first that is read on.

    Returns flow float32 [H, W, 2] in px, class indices uint8 [H, W] or depth float32 [H, W] in [0, 1], 1 = far.
    """

    def __call__(self, image: np.ndarray, index: int) -> np.ndarray:
        """``image`` is uint8 RGB [H, W, 3] at the model's size, ``index`` its number in the film."""
        ...


def open_teacher(settings: AnyTeacher, film: Path) -> Teacher:
    """Returns the teacher that ``settings`` describe, for one film.

    Raises:
        UsageError: a file that it needs is not there.
        BackendError: a library that it needs is not installed.
    """
    module, _, name = TEACHERS[settings.teacher].partition(":")
    opens: Callable[[AnyTeacher, Path], Teacher] = getattr(importlib.import_module(module), name)
    return opens(settings, film)
