"""``NAME.vad.zip``: a bundle as one file, stored and not compressed, the same bytes as the folder.

The archive says nothing that is believed: names are checked before anything is written, sizes cannot exceed the archive's own
(nothing is compressed, so nothing can swell), and the unpacked folder is then verified like any other bundle.
"""

import errno
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from vadfast.atomic import atomic_file
from vadfast.errors import BundleError

SUFFIX = ".vad.zip"
# The same for every archive, so that equal bundles are equal files.
_TIME = (1980, 1, 1, 0, 0, 0)
_CHUNK = 1 << 20
# A bundle has about ten; empty files cost an archive nothing and a disk its inodes.
_MAX_FILES = 1000


def is_zipped(path: Path) -> bool:
    """Whether ``path`` is named like a zipped bundle."""
    return path.name.endswith(SUFFIX)


def pack(folder: Path, archive: Path) -> None:
    """Writes the files of ``folder`` into ``archive``, whole or not at all."""
    with atomic_file(archive) as temporary, zipfile.ZipFile(temporary, "w") as stored:
        for file in sorted(p for p in folder.rglob("*") if p.is_file()):
            record = zipfile.ZipInfo(file.relative_to(folder).as_posix(), _TIME)
            record.external_attr = 0o644 << 16
            record.file_size = file.stat().st_size
            with file.open("rb") as source, stored.open(record, "w") as target:
                while chunk := source.read(_CHUNK):
                    target.write(chunk)


def unpack(archive: Path, folder: Path) -> None:
    """Writes the files of ``archive`` into ``folder``.

    Raises:
        BundleError: it is no zip file, holds a name that leaves the folder, or anything compressed.
    """
    try:
        with _opened(archive) as stored:
            for record in _checked(archive, stored):
                target = folder / record.filename
                target.parent.mkdir(parents=True, exist_ok=True)
                with stored.open(record) as source, target.open("xb") as out:
                    while chunk := source.read(_CHUNK):
                        out.write(chunk)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES):
            raise
        # A name for both a file and a folder, or one that no file can have.
        raise _refusal(
            archive, f"holds a name that cannot be written ({error.strerror})"
        ) from error


def read_member(archive: Path, name: str, max_bytes: int) -> bytes:
    """Returns the file ``name`` of ``archive``.

    Raises:
        BundleError: as ``unpack``, or there is no such file, or it has more than ``max_bytes``.
    """
    with _opened(archive) as stored:
        records = {record.filename: record for record in _checked(archive, stored)}
        if name not in records or records[name].file_size > max_bytes:
            raise _refusal(archive, f"must hold {name}, {max_bytes >> 20} MB at most, does not")
        return stored.read(records[name])


@contextmanager
def _opened(archive: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(archive) as stored:
            yield stored
    # RuntimeError: of what a header says is encrypted, though the directory does not.
    except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError, RuntimeError) as error:
        raise _refusal(archive, f"is not a whole zip file ({error})") from error


def _checked(archive: Path, stored: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    # zip -r writes an entry for each folder; the files make the folders anyway.
    records = [record for record in stored.infolist() if not record.filename.endswith("/")]
    if len(records) > _MAX_FILES:
        raise _refusal(archive, f"holds {len(records)} files, a bundle has {_MAX_FILES} at most")
    if len({record.filename for record in records}) < len(records):
        raise _refusal(archive, "holds a name twice")
    if sum(record.file_size for record in records) > archive.stat().st_size:
        raise _refusal(archive, "says that it holds more than its own size")
    for record in records:
        pure = PurePosixPath(record.filename)
        plain = record.filename == pure.as_posix() and not pure.is_absolute()
        if not plain or {"..", "."} & set(pure.parts) or any(c in record.filename for c in "\\:\0"):
            raise _refusal(archive, f"holds the name {record.filename!r}, which leaves the bundle")
        if record.compress_type != zipfile.ZIP_STORED or record.flag_bits & 1:
            raise _refusal(archive, f"{record.filename} must be stored, is compressed or encrypted")
    return records


def _refusal(archive: Path, what: str) -> BundleError:
    return BundleError(
        f"{archive}: {what}; copy the bundle again from where it was compiled, or make it with zip -0 -r"
    )
