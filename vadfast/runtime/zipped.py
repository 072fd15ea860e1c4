"""``NAME.vad.zip``: a bundle as one file, stored and not compressed, the same bytes as the folder.

The archive says nothing that is believed: names are checked when it is opened, sizes cannot exceed its own (nothing is compressed, so
nothing can swell). Whoever opens a bundle reads manifest and signature from it first, and unpacks what the manifest names once that is
verified (``vadfast.runtime.bundle``).
"""

import errno
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
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


class Archive:
    """An opened zip file whose list of contents was checked; what it says is believed by nobody before its manifest was verified."""

    def __init__(self, path: Path, stored: zipfile.ZipFile) -> None:
        """Use ``opened``."""
        self._path, self._stored = path, stored
        self._records = {record.filename: record for record in _checked(path, stored)}

    @property
    def sizes(self) -> dict[str, int]:
        """How many bytes each file has, by its name."""
        return {name: record.file_size for name, record in self._records.items()}

    def read(self, name: str, max_bytes: int) -> bytes:
        """Returns the content of one file. Raises BundleError where there is none, or it has more than ``max_bytes``."""
        record = self._records.get(name)
        if record is None or record.file_size > max_bytes:
            raise _refusal(self._path, f"must hold {name}, {max_bytes >> 20} MB at most, does not")
        with _readable(self._path):
            return self._stored.read(record)

    def unpack(self, names: Iterable[str], folder: Path) -> None:
        """Writes the files ``names`` into ``folder``, none larger than ``sizes`` says.

        Raises:
            BundleError: a name that no file can have, or that is a folder's too; or what lies there is no whole file.
        """
        try:
            for name in names:
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with (
                    target.open("xb") as out,
                    _readable(self._path),
                    self._stored.open(self._records[name]) as source,
                ):
                    while chunk := source.read(_CHUNK):
                        out.write(chunk)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES):
                raise
            raise _refusal(
                self._path, f"holds a name that cannot be written ({error.strerror})"
            ) from error


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """Opens the zip file at ``path``; nothing is written.

    Raises:
        BundleError: it is no zip file, or holds a name that leaves a folder, a name twice, anything compressed, or more than its own size.
    """
    with ExitStack() as stack:
        with _readable(path):
            archive = Archive(path, stack.enter_context(zipfile.ZipFile(path)))
        yield archive


@contextmanager
def _readable(archive: Path) -> Iterator[None]:
    """Turns what ``zipfile`` raises into our sentence."""
    try:
        yield
    # RuntimeError: of what a header says is encrypted, though the directory does not.
    except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError, RuntimeError) as error:
        raise _refusal(archive, f"is not a whole zip file ({error})") from error
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise _refusal(archive, "is not a whole zip file (a place before its beginning)") from error


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
