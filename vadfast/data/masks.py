"""Where a data set keeps what is abnormal within its frames: pixel masks of a film, and tracks of what moves through it."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vadfast.data import labels as read
from vadfast.data.arrays import read_array
from vadfast.errors import SourceError
from vadfast.runtime.source import FolderSource, read_image

_PED2_WIDTH_PX = 360


def find_masks(root: Path, kind: str, film: Path, name: str) -> Callable[[], np.ndarray] | None:
    """Reads the masks, bool [n_frames, H, W], of the test film ``name`` at ``film``; None where there are none.

    Forms: UCSD's ``Test001_gt`` beside ``Test001``; packed bits in one npz; ``testing/masks/NAME.npz`` of a plain folder;
    ShanghaiTech's ``testing/test_pixel_mask/NAME.npy``; Avenue's ``testing_label_mask/1_label.mat``.
    """
    drawn = film.with_name(f"{film.name}_gt")
    if drawn.is_dir():
        return lambda: _drawn_masks(drawn)
    for packed in (root / f"pixel_masks_{kind}.npz", root / "labels" / f"pixel_masks_{kind}.npz"):
        if packed.is_file():
            return lambda: read.read_packed_masks(packed, name, _PED2_WIDTH_PX)
    made = root / "testing" / "masks" / f"{name}.npz"
    if made.is_file():
        return lambda: np.load(made, allow_pickle=False)["masks"].astype(bool)
    whole = root / "testing" / "test_pixel_mask" / f"{name}.npy"
    if whole.is_file():
        return lambda: _whole_masks(whole)
    digits = re.findall(r"\d+", name)
    number = int(digits[-1]) if digits else 0
    volume = root / "ground_truth_demo" / "testing_label_mask" / f"{number}_label.mat"
    if volume.is_file():
        return lambda: _volume_masks(volume)
    return None


def find_tracks(root: Path, name: str) -> Callable[[], np.ndarray] | None:
    """Reads the tracks, int64 [n, 6] rows (track, frame, x1, y1, x2, y2), of a test film; None where there are none."""
    for suffix in (".csv", ".txt"):
        path = root / "testing" / "tracks" / f"{name}{suffix}"
        if path.is_file():
            return lambda path=path: read.read_tracks(path)  # type: ignore[misc]
    return None


def _drawn_masks(folder: Path) -> np.ndarray:
    return np.stack([read_image(file)[..., 0] > 127 for file in FolderSource(folder).files])


def _whole_masks(path: Path) -> np.ndarray:
    masks = read_array(path, "an npy array [n_frames, H, W]")
    if masks.ndim != 3:
        raise SourceError(f"{path}: must be [n_frames, H, W], got shape {list(masks.shape)}")
    return masks > 0


def _volume_masks(path: Path) -> np.ndarray:
    return np.stack([np.asarray(m, bool) for m in read.load_mat(path, "volLabel").reshape(-1)])
