"""The paper's segmentation: torchvision's Mask R-CNN, where torchvision is installed and its weights are at hand."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from vadfast.errors import BackendError, UsageError, first_line
from vadfast.teachers.coco import paint
from vadfast.teachers.settings import MaskRCNN

_SOURCE = "https://download.pytorch.org/models/maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth"
_DEFAULT = "background subtraction (mog2) needs neither torchvision nor weights"


class MaskRCNNTeacher:
    """ResNet-50 FPN, trained on COCO; torch is loaded here and nowhere else among the teachers."""

    def __init__(self, settings: MaskRCNN, film: Path) -> None:
        self._min_score = settings.min_score
        self._network = _open(settings.weights)

    def __call__(self, image: np.ndarray, index: int) -> np.ndarray:
        """Returns the group of each pixel, uint8 [H, W]."""
        import torch

        x = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float() / 255
        with torch.inference_mode():
            found = self._network([x])[0]
        labels, scores, masks = (found[k].cpu().numpy() for k in ("labels", "scores", "masks"))
        return paint(labels, scores, masks[:, 0], min_score=self._min_score)


@lru_cache(maxsize=1)
def _open(weights: str) -> Any:
    if not Path(weights).is_file():
        raise UsageError(
            f"segmentation: {weights} must be Mask R-CNN's weights, there is no such file; get {_SOURCE}, "
            f"or leave segmentation out: {_DEFAULT}"
        )
    try:
        from torchvision.models.detection import maskrcnn_resnet50_fpn

        from vadfast.models.weights import read_weights
    except ImportError as error:
        raise BackendError(
            f"segmentation: mask-rcnn needs torchvision, which cannot be imported ({error}); install it, "
            f"or leave segmentation out: {_DEFAULT}"
        ) from error
    network = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=91)
    try:
        network.load_state_dict(read_weights(Path(weights), mend=f"get {_SOURCE}"))
    except RuntimeError as error:
        raise UsageError(
            f"segmentation: {weights} does not hold Mask R-CNN's weights ({first_line(error)}); get {_SOURCE}"
        ) from error
    return network.eval()
