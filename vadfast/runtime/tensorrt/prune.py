"""How large the cache of engines may grow: those that were not opened for longest go, never one that a process holds open.

An engine in use is one whose file is locked: each process that runs it keeps a shared lock, which ends with the process.
"""

import fcntl
import logging
import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vadfast.errors import BackendError

log = logging.getLogger(__name__)

DEFAULT_MB = 2048  # ten engines of the largest model in float32
_VARIABLE = "VADFAST_TENSORRT_CACHE_MB"
_SUFFIXES = (".engine", ".json", ".kernels")


def limit_bytes() -> int:
    """Returns how much engines may take: ``VADFAST_TENSORRT_CACHE_MB``, else 2048 MB; raises BackendError where that is no number."""
    words = os.environ.get(_VARIABLE) or str(DEFAULT_MB)
    if not words.isdecimal():
        raise BackendError(
            f"{_VARIABLE}: must be a whole number of megabytes, got {words!r}; unset it for {DEFAULT_MB}"
        )
    return int(words) << 20


def prune(folder: Path, limit: int, *, but: Path) -> None:
    """Deletes engines in ``folder``, the longest unused first, until all take at most ``limit`` bytes; ``but`` stays in any case.

    What cannot be deleted stays, and is said.
    """
    entries = _entries(folder)
    size = sum(file.stat().st_size for files in entries.values() for file in files)
    by_age = sorted(entries, key=lambda stem: max(f.stat().st_mtime_ns for f in entries[stem]))
    for stem in by_age:
        if size <= limit:
            return
        if stem == but.stem:
            continue
        freed = sum(file.stat().st_size for file in entries[stem])
        with _unused(folder / f"{stem}.engine") as unused:
            if not unused:
                continue
            for file in entries[stem]:
                file.unlink(missing_ok=True)
        log.info("tensorrt: the cache is over %d MB, deleted %s", limit >> 20, stem)
        size -= freed


def hold(engine: Path) -> int | None:
    """Marks ``engine`` as in use until the descriptor that is returned is closed, and as opened now; None where there is no such file."""
    try:
        descriptor = os.open(engine, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        os.utime(descriptor)
    except OSError:  # a file system without locks, or somebody else's file: it may be deleted while it runs, which costs a build
        os.close(descriptor)
        return None
    return descriptor


def _entries(folder: Path) -> dict[str, list[Path]]:
    """The files of each engine; the engine first, without which the others mean nothing."""
    entries: dict[str, list[Path]] = defaultdict(list)
    for suffix in _SUFFIXES:
        for file in folder.glob(f"*{suffix}"):
            entries[file.stem].append(file)
    return entries


@contextmanager
def _unused(engine: Path) -> Iterator[bool]:
    """Whether no process holds ``engine``; none can begin to while it lasts."""
    try:
        descriptor = os.open(engine, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:  # what is left of one
        yield True
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)
