"""Files that hold code for the GPU: whole or absent, and nobody else's."""

import os
from pathlib import Path

from vadfast.atomic import atomic_file

_OTHERS_WRITE = 0o022  # the permissions of group and world


def read_private(file: Path) -> bytes:
    """Returns the bytes of ``file``.

    Raises:
        OSError: it cannot be read.
        ValueError: another user may have written it; what it holds would run with our rights.
    """
    status = file.stat()
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & _OTHERS_WRITE:
        raise ValueError(f"{file.name} can be written by another user")
    return file.read_bytes()


def write_private(file: Path, content: bytes) -> None:
    """Writes ``content`` to ``file``, for its owner alone; raises OSError and leaves nothing where it cannot."""
    with atomic_file(file) as temporary:
        temporary.touch(0o600)
        temporary.write_bytes(content)
        temporary.chmod(0o600)
