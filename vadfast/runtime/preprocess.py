"""A frame of any size becomes the model's input size; training, evaluation and runtime all resize here and only here."""

import numpy as np
from vadfast_kernels.preprocess import native

from vadfast.runtime.manifest import InputSpec


class Preprocess:
    """Bilinear resize to the model's size, aspect ratio not kept: the bits of ``cv2.resize(..., INTER_LINEAR)``."""

    def __init__(self, spec: InputSpec) -> None:
        self._size = (spec.height, spec.width)

    def __call__(self, image: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Returns RGB ``image`` uint8 [H, W, 3] as uint8 [height, width, 3]; written into ``out`` if given.

        Raises:
            ValueError, TypeError: ``image`` is not uint8 [H, W, 3].
        """
        return native.preprocess(image, format="rgb", size=self._size, out=out)
