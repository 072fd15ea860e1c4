"""What the teachers see, as two RGB pictures of bytes behind the frames of a window: so a model has one input, whatever it needs.

    picture   red                                   green        blue
    flow      magnitude  255 sqrt(|flow| / max_px)  255 |cos a|  255 |sin a|      a: the direction of the flow
    scene     class index, 0 = background           255 depth    255 where the index is not 0, else 0

All are rounded to the nearest byte. |cos a| and |sin a| are 0 on the background and where |flow| < 0.5 px: a direction is noise there.

Error of a byte that is decoded again, at most:

    magnitude   sqrt(max_px |flow|) / 255 + max_px / 510^2    at 64 px: 0.032 px of 1 px, 0.126 px of 16 px
    cos, sin    1 / 510
    depth       1 / 510
    index       0

The square root gives small movements fine steps and leaves room for fast ones: pedestrians move 1 to 5 px a frame at 256 px, and the
code ends at ``max_px``, 64 by default, which is beyond what Farneback's three levels can follow. What moves faster counts as ``max_px``.
"""

import numpy as np

N_PICTURES = 2
FLOW, SCENE = 0, 1  # their order
LEAST_PX = 0.5


def flow_picture(flow: np.ndarray, index: np.ndarray, max_px: float) -> np.ndarray:
    """Returns uint8 [H, W, 3] of ``flow`` float32 [H, W, 2] in px (x, y) and class indices ``index`` uint8 [H, W]."""
    x, y = np.abs(flow[..., 0]), np.abs(flow[..., 1])
    magnitude = np.sqrt(x * x + y * y)
    directed = (magnitude >= LEAST_PX) & (index > 0)
    unit = directed / np.maximum(magnitude, LEAST_PX)
    picture = np.empty((*index.shape, 3), np.uint8)
    picture[..., 0] = _bytes(np.sqrt(np.minimum(magnitude / max_px, 1)))
    picture[..., 1], picture[..., 2] = _bytes(x * unit), _bytes(y * unit)
    return picture


def scene_picture(index: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Returns uint8 [H, W, 3] of class indices ``index`` uint8 [H, W] and ``depth`` float [H, W] in [0, 1]."""
    picture = np.empty((*index.shape, 3), np.uint8)
    picture[..., 0], picture[..., 1] = index, _bytes(depth)
    picture[..., 2] = (index > 0) * np.uint8(255)
    return picture


def magnitude_of(code: np.ndarray | float, max_px: float) -> np.ndarray | float:
    """Returns the |flow| in px that a red byte of the flow picture stands for; what ``vadfast.models.mtl`` does to a window."""
    return max_px * (code / 255) ** 2


def _bytes(x: np.ndarray) -> np.ndarray:
    return np.rint(x * 255).astype(np.uint8)
