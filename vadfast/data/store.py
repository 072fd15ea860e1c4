"""Training frames, decoded and resized once, in one memory-mapped file: epochs then cost no decoding and no memory.

The file is a cache (``VADFAST_CACHE``, else the user's cache folder), keyed by the films' files and the size. Half-written
ones cannot occur: it is written under a temporary name.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vadfast.atomic import atomic_file
from vadfast.data.datasets import Video
from vadfast.errors import SourceError, UsageError
from vadfast.runtime.manifest import InputSpec
from vadfast.runtime.preprocess import Preprocess
from vadfast.runtime.source import FolderSource

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

    Raises:
        SourceError: a film cannot be decoded, or has another length than it declares.
        UsageError: the disk has no room.
    """
    lengths = [
        v.source.n_frames if v.source.n_frames is not None else sum(1 for _ in v.source)
        for v in videos
    ]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    path = cache_folder() / "frames" / f"{key_of(videos, spec)}.npy"
    if not path.exists():
        _write(path, videos, spec, offsets, progress)
    return FrameStore(np.load(path, mmap_mode="r", allow_pickle=False), offsets)


def _write(
    path: Path,
    videos: Sequence[Video],
    spec: InputSpec,
    offsets: np.ndarray,
    progress: Callable[[int, int], None],
) -> None:
    total = int(offsets[-1])
    check_room(path.parent, total * spec.height * spec.width * 3, "the decoded training frames")
    preprocess = Preprocess(spec)
    with atomic_file(path) as temporary:
        frames = np.lib.format.open_memmap(
            temporary, mode="w+", dtype=np.uint8, shape=(total, spec.height, spec.width, 3)
        )
        for v, video in enumerate(videos):
            wanted = int(offsets[v + 1] - offsets[v])
            n_read = 0
            for frame in video.source:
                if n_read < wanted:
                    preprocess(frame.image, out=frames[offsets[v] + n_read])
                n_read += 1
                if n_read % 50 == 0:
                    progress(int(offsets[v]) + min(n_read, wanted), total)
            if n_read != wanted:
                raise SourceError(
                    f"{video.source.path}: declares {wanted} frames but {n_read} could be decoded; "
                    "copy the film again or write it anew"
                )
        progress(total, total)
        frames.flush()


def check_room(folder: Path, needed: int, what: str) -> None:
    """Makes ``folder``; raises UsageError where its disk has no room for ``needed`` bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if needed + RESERVE_BYTES > free:
        raise UsageError(
            f"{folder}: {what} need {needed >> 20} MB of disk, {free >> 20} MB are free; "
            "set VADFAST_CACHE to a larger disk or lower --image-size"
        )


def cache_folder() -> Path:
    """Where caches lie: ``VADFAST_CACHE``, else the user's."""
    chosen = os.environ.get("VADFAST_CACHE")
    return (
        Path(chosen)
        if chosen
        else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "vadfast"
    )


def key_of(videos: Sequence[Video], spec: InputSpec) -> str:
    """The name of what is made of the films' files at this size."""
    digest = hashlib.sha256(f"{spec.height}x{spec.width} {spec.resize} {spec.colour}".encode())
    for video in videos:
        source = video.source
        for file in source.files if isinstance(source, FolderSource) else [source.path]:
            status = file.stat()
            digest.update(f"{file.resolve()} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:24]
