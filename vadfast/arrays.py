"""npy and npz files that a person gave, read with one sentence for whatever is wrong with them; nothing in them is run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.lib.npyio import NpzFile

from vadfast.errors import SourceError


def read_array(
    path: Path, wanted: str, *, mend: str = "", mmap_mode: Literal["r"] | None = None
) -> np.ndarray:
    """The array of ``path``.

    Args:
        path: the file.
        wanted: what it must hold, for the sentence that says it does not.
        mend: what to do then; empty: nothing is advised.
        mmap_mode: "r" leaves the numbers on disk until they are looked at.

    Raises:
        SourceError: there is no such file, or it is no npy array.
    """
    # NumPy reads a header as Python: a damaged one meets a tokenizer, a parser, and a shape that no memory holds; and
    # what begins like a zip file is opened as one. Their errors share no base.
    try:
        read = np.load(path, mmap_mode=mmap_mode, allow_pickle=False)
        if not isinstance(read, np.ndarray):
            read.close()
            raise ValueError("it holds several arrays")
    except Exception as error:
        raise _unreadable(path, wanted, error, mend) from error
    return read


def read_archive(
    path: Path, names: Sequence[str], wanted: str, *, optional: Sequence[str] = (), mend: str = ""
) -> dict[str, np.ndarray]:
    """The arrays ``names`` of the npz file ``path``, and those of ``optional`` that it has; others are not looked at.

    Args:
        path: the file.
        names: what it must hold.
        wanted: what that is, for the sentence that says it does not.
        optional: what it may hold.
        mend: what to do where it does not; empty: nothing is advised.

    Raises:
        SourceError: there is no such file, it is no archive of arrays, or one of ``names`` is not in it.
    """
    # A damaged archive raises what zipfile, zlib, lzma, struct and NumPy's reader of headers do.
    try:
        with _archive(path) as stored:
            has = stored.files
            found = {name: stored[name] for name in (*names, *optional) if name in has}
        # NumPy hands out the bytes of a member that is no array.
        if not all(isinstance(array, np.ndarray) for array in found.values()):
            raise ValueError("a member of it is no array")
    except Exception as error:
        raise _unreadable(path, wanted, error, mend) from error
    missing = next((name for name in names if name not in found), None)
    if missing is not None:
        has_words = f"{', '.join(has[:5]) or 'none'}{', ...' if len(has) > 5 else ''}"
        raise SourceError(
            f"{path}: must hold an array {missing!r}, has {has_words}{f'; {mend}' if mend else ''}"
        )
    return found


def _archive(path: Path) -> NpzFile:
    opened = np.load(path, allow_pickle=False)
    if not isinstance(opened, NpzFile):
        raise ValueError("it is a single array")
    return opened


def _unreadable(path: Path, wanted: str, error: Exception, mend: str) -> SourceError:
    why = str(error) or type(error).__name__
    return SourceError(
        f"{path}: must be {wanted}, cannot be read ({why}){f'; {mend}' if mend else ''}"
    )
