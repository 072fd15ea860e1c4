"""Files and folders that appear whole or not at all.

Everything that vadfast writes goes to a temporary name beside its target and is renamed when it is complete, so a full
disk, a crash or Ctrl-C never leaves a half-written result under the final name. No two temporary names are the same: what
a killed process left stands in nobody's way, and may be deleted.
"""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def temporary_name(target: Path, kind: str = "tmp") -> Path:
    """Returns a hidden name beside ``target`` that nothing has; makes nothing."""
    # Not the process id: in a container every process may be number 1. The suffix stays last: writers such as PyAV and
    # Matplotlib choose the format by it.
    return target.with_name(f".{target.stem}.{secrets.token_hex(4)}.{kind}{target.suffix}")


@contextmanager
def atomic_file(target: Path) -> Iterator[Path]:
    """Yields a temporary path beside ``target``; renames it to ``target`` on success, deletes it on any failure."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(target)
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(target: Path) -> Iterator[Path]:
    """The same for a whole folder: an existing ``target`` is replaced only when the new one is complete.

    It takes two renames, and what ends the process between them (SIGKILL, a power cut) leaves the old folder whole, beside
    ``target`` under a hidden name with ``.old`` in it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary, previous = temporary_name(target), temporary_name(target, "old")
    try:
        # Not by tempfile, whose folders are closed to everybody else.
        temporary.mkdir()
        yield temporary
        if target.exists():
            os.replace(target, previous)
        os.replace(temporary, target)
    finally:
        if previous.exists() and not target.exists():  # stopped between the two
            os.replace(previous, target)
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(previous, ignore_errors=True)


def write_text(target: Path, text: str) -> None:
    """Writes ``text`` to ``target`` as UTF-8, whole or not at all."""
    with atomic_file(target) as temporary:
        temporary.write_text(text, encoding="utf-8")
