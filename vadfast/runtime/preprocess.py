"""A frame of any size becomes the model's input size; training, evaluation and runtime all resize here and only here."""

import cv2
import numpy as np

from vadfast.runtime.manifest import InputSpec


class Preprocess:
    """Bilinear resize to the model's size, aspect ratio not kept, exactly ``cv2.resize(..., INTER_LINEAR)``."""

    def __init__(self, spec: InputSpec) -> None:
        self._size = (spec.width, spec.height)

    def __call__(self, image: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Returns uint8 [height, width, 3]; written into ``out`` if given.

        Raises:
            ValueError: ``image`` is not uint8 [H, W, 3].
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(
                f"Preprocess: image must be uint8 [H, W, 3], got {image.dtype} {list(image.shape)}"
            )
        if (image.shape[1], image.shape[0]) == self._size:
            if out is None:
                return image.copy()
            out[...] = image
            return out
        return cv2.resize(image, self._size, dst=out, interpolation=cv2.INTER_LINEAR)
