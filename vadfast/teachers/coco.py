"""COCO's classes in the groups that matter to a camera of a street, and instances painted into one map of them."""

import numpy as np

# Group of each of COCO's class numbers (of 91); what is not listed is 9, other.
GROUPS = {1: 1, 2: 2, 4: 3, 3: 4, 6: 5, 8: 6, 41: 7, 27: 8, 31: 8, 33: 8}
NAMES = (
    "background", "person", "bicycle", "motorcycle", "car", "bus", "truck", "skateboard", "bag", "other",
)  # fmt: skip
_OTHER = 9


def paint(
    labels: np.ndarray, scores: np.ndarray, masks: np.ndarray, *, min_score: float
) -> np.ndarray:
    """Returns the group of each pixel, uint8 [h, w]; where instances overlap, the surest is seen.

    Args:
        labels: COCO's class numbers [n].
        scores: confidences [n] in [0, 1]; instances below ``min_score`` are left out.
        masks: of the whole picture, [n, h, w], a probability each; 0.5 and more is inside.
        min_score: least confidence.
    """
    found = np.zeros(masks.shape[1:], np.uint8)
    for i in np.argsort(scores, kind="stable"):
        if scores[i] >= min_score:
            found[masks[i] >= 0.5] = GROUPS.get(int(labels[i]), _OTHER)
    return found
