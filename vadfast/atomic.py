"""Files and folders that appear whole or not at all.

Everything that vadfast writes goes to a temporary name beside its target and is renamed when it is complete, so a full
disk, a crash or Ctrl-C never leaves a half-written result under the final name.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def _temporary_name(target: Path) -> Path:
    # The suffix stays last: writers such as PyAV and Matplotlib choose the format by it.
    return target.with_name(f".{target.stem}.{os.getpid()}.tmp{target.suffix}")


@contextmanager
def atomic_file(target: Path) -> Iterator[Path]:
    """Yields a temporary path beside ``target``; renames it to ``target`` on success, deletes it on any failure."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_name(target)
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(target: Path) -> Iterator[Path]:
    """The same for a whole folder: an existing ``target`` is replaced only when the new one is complete."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_name(target)
    previous = target.with_name(f".{target.name}.{os.getpid()}.old")
    temporary.mkdir()
    try:
        yield temporary
        if target.exists():
            os.replace(target, previous)
        os.replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(previous, ignore_errors=True)


def write_text(target: Path, text: str) -> None:
    """Writes ``text`` to ``target`` as UTF-8, whole or not at all."""
    with atomic_file(target) as temporary:
        temporary.write_text(text, encoding="utf-8")
