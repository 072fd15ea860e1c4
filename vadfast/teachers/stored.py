"""Maps that were computed elsewhere: an npy per film in a folder, found by the film's name."""

from pathlib import Path

import numpy as np

from vadfast.arrays import read_array
from vadfast.errors import SourceError, UsageError
from vadfast.runtime.source import VIDEO_SUFFIXES


def open_stored(folder: Path, film: Path, *, key: str, default: str) -> np.ndarray:
    """Returns the array of ``film``, memory-mapped.

    Training and test films may have the same name: of ``testing/frames/01.npy``, ``frames/01.npy`` and ``01.npy`` (the film's path,
    without a video's suffix, cut from the left) the longest that exists is taken.

    Raises:
        UsageError: there is none; the message names the teacher that needs no file.
        SourceError: it is not an npy array.
    """
    is_video = film.suffix.lower() in VIDEO_SUFFIXES
    parts = [*film.absolute().parts[1:-1], film.stem if is_video else film.name]
    names = ["/".join(parts[i:]) + ".npy" for i in range(len(parts))]
    found = next((folder / name for name in names if (folder / name).is_file()), None)
    if found is None:
        raise UsageError(
            f"{key}: {folder} must hold {names[-1]} for the film {film}, it does not; write it with your own network "
            f"(docs/methods.md has the layout), or leave {key} out: {default}"
        )
    return read_array(found, "an npy array", mend="write it again", mmap_mode="r")


def stored_frame(maps: np.ndarray, index: int, *, where: Path) -> np.ndarray:
    """Returns map ``index`` of ``maps`` [n_frames, h, w]; raises SourceError where there is none."""
    if maps.ndim != 3:
        raise SourceError(
            f"{where}: maps must be [n_frames, h, w], got {list(maps.shape)}; write them again"
        )
    if index >= len(maps):
        raise SourceError(
            f"{where}: must have a map of each frame, has {len(maps)} and the film a frame {index}; write them again"
        )
    return maps[index]
