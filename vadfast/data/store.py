"""Training frames, decoded and resized once, in one memory-mapped file: epochs then cost no decoding and no memory.

The file is a cache (``VADFAST_CACHE``, else the user's cache folder), keyed by the films' files, the size, and who decodes and
resizes. Half-written ones cannot occur: it is written under a temporary name.
"""

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vadfast.atomic import atomic_file
from vadfast.caches import cache_folder
from vadfast.data.datasets import Video
from vadfast.errors import UsageError
from vadfast.runtime.manifest import InputSpec
from vadfast.runtime.preprocess import Preprocess
from vadfast.runtime.source import FolderSource, length_of

_VERSION = 1  # of what the same films give; raised with the code that decodes and resizes
RESERVE_BYTES = 200 << 20  # of disk that stays free


@dataclass(frozen=True)
class FrameStore:
    """All frames of some films: ``frames`` uint8 [N, H, W, 3] (memory-mapped), film v at offsets[v] .. offsets[v + 1]."""

    frames: np.ndarray
    offsets: np.ndarray  # int64 [n_videos + 1]


def open_store(
    videos: Sequence[Video], spec: InputSpec, *, progress: Callable[[int, int], None]
) -> FrameStore:
    """The frames of ``videos`` at the size of ``spec``, from the cache or decoded now.

    Args:
        videos: the films, in the order of the store.
        spec: size and resize rule.
        progress: called with (frames decoded, frames in all).

    A film is as long as could be decoded of it, and no longer than it declares: what is held out is counted by that
    (``holdout.py``), so that no frame behind it may be trained on.

    Raises:
        SourceError: a film cannot be decoded, or is cut short (``runtime/source.py``).
        UsageError: the disk has no room.
    """
    path = cache_folder() / "frames" / f"{key_of(videos, spec)}.npy"
    # Written first, so that whoever finds the frames finds it.
    offsets_path = path.with_suffix(".offsets.npy")
    if not path.exists():
        _write(path, offsets_path, videos, spec, progress)
    offsets = np.load(offsets_path, allow_pickle=False)
    frames = np.load(path, mmap_mode="r", allow_pickle=False)
    return FrameStore(frames[: offsets[-1]], offsets)


def _write(
    path: Path,
    offsets_path: Path,
    videos: Sequence[Video],
    spec: InputSpec,
    progress: Callable[[int, int], None],
) -> None:
    declared = [length_of(video.source) for video in videos]
    total = sum(declared)
    check_room(path.parent, total * spec.height * spec.width * 3, "the decoded training frames")
    preprocess = Preprocess(spec)
    offsets = np.zeros(len(videos) + 1, np.int64)
    with atomic_file(path) as temporary:
        frames = np.lib.format.open_memmap(
            temporary, mode="w+", dtype=np.uint8, shape=(total, spec.height, spec.width, 3)
        )
        for v, video in enumerate(videos):
            at, end = int(offsets[v]), int(offsets[v]) + declared[v]
            # To the end of the film, whatever it declares: only there a damaged one says that it is.
            for frame in video.source:
                if at == end:
                    continue
                preprocess(frame.image, out=frames[at])
                at += 1
                if at % 50 == 0:
                    progress(at, total)
            offsets[v + 1] = at
        progress(total, total)
        frames.flush()
        with atomic_file(offsets_path) as of_offsets:
            np.save(of_offsets, offsets)


def check_room(folder: Path, needed: int, what: str) -> None:
    """Makes ``folder``; raises UsageError where its disk has no room for ``needed`` bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if needed + RESERVE_BYTES > free:
        raise UsageError(
            f"{folder}: {what} need {needed >> 20} MB of disk, {free >> 20} MB are free; "
            "set VADFAST_CACHE to a larger disk or lower --image-size"
        )


def key_of(videos: Sequence[Video], spec: InputSpec) -> str:
    """The name of what is made of the films' files at this size."""
    import av
    import cv2

    decoders = f"{_VERSION} {sorted(av.library_versions.items())} {cv2.__version__}"
    size = f"{spec.height}x{spec.width} {spec.resize} {spec.colour}"
    digest = hashlib.sha256(f"{decoders} {size}".encode())
    for video in videos:
        source = video.source
        for file in source.files if isinstance(source, FolderSource) else [source.path]:
            status = file.stat()
            digest.update(f"{file.resolve()} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:24]
