"""Preprocessing: a camera frame to the model's size, in the resize rule that training and runtime share.

Right is who differs from that rule, bilinear in float64 with OpenCV's pixel centres, by one grey level at most.
"""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import cv2
import numpy as np
import torch
from torch.nn import functional as F

from bench.contest import Check, Field, Provider, contest
from vadfast.data import synthetic
from vadfast.runtime.manifest import InputSpec
from vadfast.runtime.preprocess import Preprocess

SIDE = 256
PROVIDERS = ("vadfast", "torch")


def _frames(width: int, height: int) -> list[np.ndarray]:
    made = synthetic.film(5, 4)
    return [np.ascontiguousarray(cv2.resize(m.image, (width, height))) for m in made]


def _bilinear(image: np.ndarray) -> np.ndarray:
    """The rule, in float64: pixel centres at (i + 1/2) / scale - 1/2, borders repeated."""

    def weights(n_in: int) -> np.ndarray:
        centre = (np.arange(SIDE) + 0.5) * n_in / SIDE - 0.5
        low = np.floor(centre).astype(int)
        matrix = np.zeros((SIDE, n_in))
        for near, share in ((low, 1 - (centre - low)), (low + 1, centre - low)):
            np.add.at(matrix, (np.arange(SIDE), near.clip(0, n_in - 1)), share)
        return matrix

    rows, columns = weights(image.shape[0]), weights(image.shape[1])
    return np.einsum("ih,hwc,jw->ijc", rows, image.astype(np.float64), columns, optimize=True)


def _open(width: int, height: int, stack: ExitStack) -> Field:
    frames = _frames(width, height)
    ours, slot = (
        Preprocess(InputSpec(n_frames=5, height=SIDE, width=SIDE)),
        np.empty((SIDE, SIDE, 3), np.uint8),
    )
    truth = _bilinear(frames[0])

    def by_torch(i: int) -> np.ndarray:
        x = torch.from_numpy(frames[i % 4]).permute(2, 0, 1)[None].float()
        y = F.interpolate(x, (SIDE, SIDE), mode="bilinear", align_corners=False)
        return y[0].permute(1, 2, 0).round().byte().numpy()

    providers: dict[str, Callable[[int], Any]] = {
        "vadfast": lambda i: ours(frames[i % 4], slot),
        "torch": by_torch,
    }

    def check(_: str, result: np.ndarray) -> Check:
        error = float(np.abs(result.astype(np.float64) - truth).max())
        return Check(error, 1.0, "grey levels")

    return Field({n: Provider(call, dtype="uint8") for n, call in providers.items()}, check)


@contest(
    case="480x360 to 256x256",
    shape="360x480x3 uint8",
    reference="vadfast",
    providers=PROVIDERS,
)
def test_small_camera(stack: ExitStack) -> Field:
    """The size of the PETS film."""
    return _open(480, 360, stack)


@contest(
    case="1920x1080 to 256x256",
    shape="1080x1920x3 uint8",
    reference="vadfast",
    providers=PROVIDERS,
)
def test_full_hd(stack: ExitStack) -> Field:
    """A present-day camera."""
    return _open(1920, 1080, stack)
