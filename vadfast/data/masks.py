"""Where a data set keeps what is abnormal within its frames: pixel masks of a film, and tracks of what moves through it."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from vadfast.arrays import read_archive, read_array
from vadfast.data import labels as read
from vadfast.errors import SourceError
from vadfast.runtime.source import FolderSource, read_image

# Whose masks come as packed bits, and how wide they are: the bytes of a row do not say how many of their bits are pixels.
_PACKED_WIDTH_PX = {"ped2": 360}


_MEND = "download the masks again, or take them away to go without"


def find_masks(root: Path, kind: str, film: Path, name: str) -> Callable[[], np.ndarray] | None:
    """Reads the masks, bool [n_frames, H, W], of the test film ``name`` at ``film``; None where there are none.

    Forms: UCSD's ``Test001_gt`` beside ``Test001``; Ped2's packed bits in one npz; ``testing/masks/NAME.npz`` of a plain folder;
    ShanghaiTech's ``testing/test_pixel_mask/NAME.npy``; Avenue's ``testing_label_mask/1_label.mat``.
    """
    drawn = film.with_name(f"{film.name}_gt")
    if drawn.is_dir():
        return lambda: _drawn_masks(drawn)
    for packed in (root / f"pixel_masks_{kind}.npz", root / "labels" / f"pixel_masks_{kind}.npz"):
        if kind in _PACKED_WIDTH_PX and packed.is_file():
            return lambda: read.read_packed_masks(packed, name, _PACKED_WIDTH_PX[kind])
    made = root / "testing" / "masks" / f"{name}.npz"
    if made.is_file():
        return lambda: _made_masks(made)
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
    files = FolderSource(folder).files
    return _stacked(folder, ((file.name, read_image(file)[..., 0] > 127) for file in files))


def _made_masks(path: Path) -> np.ndarray:
    wanted = "masks [n_frames, H, W]"
    return _film(path, read_archive(path, ["masks"], wanted, mend=_MEND)["masks"])


def _whole_masks(path: Path) -> np.ndarray:
    return _film(path, read_array(path, "an npy array [n_frames, H, W]", mend=_MEND))


def _volume_masks(path: Path) -> np.ndarray:
    frames = read.load_mat(path, "volLabel").reshape(-1)
    return _stacked(path, ((f"frame {t}", frame) for t, frame in enumerate(frames)))


def _film(path: Path, masks: np.ndarray) -> np.ndarray:
    """Bool [n_frames, H, W] of numbers in that shape."""
    if masks.ndim != 3 or masks.dtype.kind not in "buif":
        raise SourceError(
            f"{path}: masks must be numbers [n_frames, H, W], got {masks.dtype} {list(masks.shape)}; {_MEND}"
        )
    return np.asarray(masks > 0)


def _stacked(path: Path, frames: Iterable[tuple[str, object]]) -> np.ndarray:
    """Bool [n_frames, H, W] of the masks [H, W] of a film's frames, each with what it is called within ``path``."""
    masks: list[np.ndarray] = []
    for name, frame in frames:
        mask = np.asarray(frame)
        wanted = ", ".join(map(str, masks[0].shape)) if masks else "H, W"
        if (
            mask.ndim != 2
            or mask.dtype.kind not in "buif"
            or (masks and mask.shape != masks[0].shape)
        ):
            raise SourceError(
                f"{path}: the mask {name} must be numbers [{wanted}] like the first, "
                f"got {mask.dtype} {list(mask.shape)}; {_MEND}"
            )
        masks.append(mask > 0)
    if not masks:
        raise SourceError(f"{path}: must hold a mask for each frame, has none; {_MEND}")
    return np.stack(masks)
