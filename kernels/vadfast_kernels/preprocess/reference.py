"""Preprocessing in OpenCV, as models are trained with it: the whole picture is converted, then cut, then resized."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]

_TO_RGB = {
    "bgr": cv2.COLOR_BGR2RGB,
    "gray": cv2.COLOR_GRAY2RGB,
    "i420": cv2.COLOR_YUV2RGB_I420,
    "nv12": cv2.COLOR_YUV2RGB_NV12,
}


def preprocess(
    picture: Image,
    *,
    format: str,
    size: tuple[int, int],
    crop: tuple[int, int, int, int] | None = None,
) -> Image:
    """Returns [height, width, 3] of ``native.py``; a picture of nv12 or i420 is [3 H / 2, W]."""
    rgb: Any = picture if format == "rgb" else cv2.cvtColor(picture, _TO_RGB[format])
    if crop is not None:
        x, y, width, height = crop
        rgb = rgb[y : y + height, x : x + width]
    return cv2.resize(rgb, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
