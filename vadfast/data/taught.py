"""What the teachers see of the training films, computed once, in a memory-mapped file beside their frames.

Films are taught in parallel, each by teachers of its own; the file's bytes do not depend on that. It is a cache like the frames',
keyed by these and by everything that the teachers are set to, their files and OpenCV's version included.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

import numpy as np

from vadfast.atomic import atomic_file
from vadfast.caches import cache_folder
from vadfast.data.datasets import Video
from vadfast.data.store import FrameStore, check_room, key_of
from vadfast.runtime.manifest import InputSpec
from vadfast.teachers.codes import N_PICTURES
from vadfast.teachers.pictures import Pictures, TeacherCost
from vadfast.teachers.settings import TeacherSettings

_VERSION = 2  # of what the same settings give; raised with the teachers' code


def open_taught(
    videos: Sequence[Video],
    store: FrameStore,
    spec: InputSpec,
    settings: TeacherSettings,
    *,
    progress: Callable[[int, int], None],
    cost: TeacherCost,
) -> np.ndarray:
    """Returns the teachers' pictures of all frames of ``store``, uint8 [N, 2, H, W, 3], memory-mapped.

    Args:
        videos: the films, in the order of the store.
        store: their frames at the model's size.
        spec: that size.
        settings: the teachers.
        progress: called with (frames done, frames in all).
        cost: gets the teachers' time; none, where the cache has them.

    Raises:
        UsageError: a teacher lacks a file, or the disk has no room.
        BackendError: a teacher lacks a library.
        SourceError: stored maps do not fit their film.
    """
    path = cache_folder() / "taught" / f"{_key(videos, spec, settings)}.npy"
    if not path.exists():
        _write(path, videos, store, settings, progress, cost)
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _write(
    path: Path,
    videos: Sequence[Video],
    store: FrameStore,
    settings: TeacherSettings,
    progress: Callable[[int, int], None],
    cost: TeacherCost,
) -> None:
    # All films' teachers before the first frame: what is missing is said at once.
    costs = [TeacherCost() for _ in videos]
    teachers = [Pictures(settings, v.source.path, c) for v, c in zip(videos, costs, strict=True)]
    shape = (len(store.frames), N_PICTURES, *store.frames.shape[1:])
    check_room(path.parent, int(np.prod(shape)), "the teachers' pictures of the training frames")
    done, lock = [0], Lock()
    with atomic_file(path) as temporary:
        taught = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)

        def teach(v: int) -> None:
            first = int(store.offsets[v])
            for i in range(first, int(store.offsets[v + 1])):
                taught[i] = teachers[v](np.asarray(store.frames[i]), i - first)
                with lock:
                    done[0] += 1
                    progress(done[0], len(taught))

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            try:
                list(pool.map(teach, range(len(videos))))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        taught.flush()
    for c in costs:
        cost.add(c)


def _key(videos: Sequence[Video], spec: InputSpec, settings: TeacherSettings) -> str:
    import cv2

    digest = hashlib.sha256(f"{_VERSION} {key_of(videos, spec)} {cv2.__version__}".encode())
    digest.update(settings.model_dump_json().encode())
    for file in _files(settings):
        status = file.stat()
        digest.update(f"{file} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:24]


def _files(settings: TeacherSettings) -> list[Path]:
    """What the teachers read from disk: networks, and maps of this and other films."""
    found: list[Path] = []
    for teacher in (settings.segmentation, settings.depth):
        for name in ("path", "weights"):
            named = getattr(teacher, name, None)
            if named is not None and Path(named).is_file():
                found.append(Path(named))
        folder = getattr(teacher, "folder", None)
        if folder is not None:
            found += sorted(Path(folder).rglob("*.npy"))
    return found
