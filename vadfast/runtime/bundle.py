"""Opens a bundle ``NAME.vad`` or ``NAME.vad.zip``: verifies every byte of it before anything in it is used.

SIGNATURE says whose manifest.json it is, which covers every other file; nothing may be missing, added, linked or outside. Only after
that is the manifest believed, and only then does an engine read the model.
"""

import hashlib
import json
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from pydantic import ValidationError

from vadfast.errors import BundleError, UsageError, first_line
from vadfast.runtime.bag_manifest import BagManifest
from vadfast.runtime.manifest import FORMAT_VERSION, FileRecord, Manifest
from vadfast.runtime.signature import SIGNATURE, Trust
from vadfast.runtime.zipped import is_zipped, opened

MANIFEST = "manifest.json"
MANIFEST_HASH = "manifest.sha256"
SEALS = {MANIFEST, MANIFEST_HASH, SIGNATURE}  # what no hash of the manifest covers

# Of 20 kB or so; it is read before anybody has vouched for it, and three bytes of JSON may be sixty of memory.
MAX_MANIFEST_BYTES = 2 << 20

_RESTORE = "copy the bundle again from where it was compiled"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose bytes are exactly those that were sealed."""

    path: Path
    manifest: Manifest
    # What holds the folder of a zipped bundle; it goes when the bundle is forgotten.
    unpacked: "TemporaryDirectory[str] | None" = None

    def file(self, name: str) -> Path:
        """Returns where the file ``name`` of the manifest lies."""
        return self.path / name


def open_bundle(path: Path, trust: Trust | None = None) -> Bundle:
    """Verifies the bundle at ``path`` and returns it; ``trust`` says whose it may be, None: of keys that the machine trusts.

    Raises:
        BundleError: it is absent, damaged, incomplete, has something added, is signed by nobody that is trusted, or is of a format
            this version does not read.
    """
    folder, manifest, unpacked = verify(path, Manifest, trust or Trust())
    _check_scoring(path, manifest)
    return Bundle(folder, manifest, unpacked)


def takes(path: Path) -> str:
    """What the bundle at ``path`` says that it scores: "bags", or "frames", also where it is no bundle at all.

    It only chooses between ``open_bundle`` and ``open_bag_bundle``. Nobody has vouched for it yet, and a lie harms nothing: either opener
    verifies the signature before it reads more, and refuses a bundle of the other kind. Read is JSON alone, of ``MAX_MANIFEST_BYTES`` at
    most, no deeper than Python's own limit of nesting.
    """
    try:
        if is_zipped(path):
            with opened(path) as archive:
                content = archive.read(MANIFEST, MAX_MANIFEST_BYTES)
        else:
            content = _read_seal(path, MANIFEST)
        return "bags" if json.loads(content)["takes"] == "bags" else "frames"
    except (OSError, ValueError, KeyError, TypeError, RecursionError, BundleError):
        return "frames"


R = TypeVar("R", Manifest, BagManifest)


def verify(
    path: Path, record: type[R], trust: Trust
) -> "tuple[Path, R, TemporaryDirectory[str] | None]":
    """Returns the folder of the bundle at ``path``, its manifest, and of a zipped one what holds the folder.

    Raises:
        BundleError: as ``open_bundle``, or the bundle has another kind of manifest.
    """
    if is_zipped(path) and path.is_file():
        return _verify_zipped(path, record, trust)
    if not path.is_dir():
        found = "a file" if path.exists() else "nothing"
        raise BundleError(
            f"{path}: must be a bundle written by vadfast.compile (a folder or NAME.vad.zip), got {found}; check "
            "the path"
        )
    sizes = _files_of(path)
    manifest = _vouched(path, path, sizes, partial(_read_seal, path), record, trust)
    _check_hashes(path, path, manifest.files)
    return path, manifest, None


def _verify_zipped(
    path: Path, record: type[R], trust: Trust
) -> "tuple[Path, R, TemporaryDirectory[str]]":
    """Reads the seals from the archive itself: it is unpacked once they are right, file by file as the manifest names them."""
    with opened(path) as archive:
        unpacked = TemporaryDirectory(prefix="vadfast-bundle-")
        folder = Path(unpacked.name, path.name.removesuffix(".zip"))
        folder.mkdir()
        read = partial(archive.read, max_bytes=MAX_MANIFEST_BYTES)
        manifest = _vouched(path, folder, archive.sizes, read, record, trust)
        archive.unpack(manifest.files, folder)
    _check_hashes(path, folder, manifest.files)
    return folder, manifest, unpacked


def _vouched(
    path: Path,
    folder: Path,
    sizes: dict[str, int],
    read: Callable[[str], bytes],
    record: type[R],
    trust: Trust,
) -> R:
    """Returns the manifest: signed and hashed right, and names the files that there are (``sizes``), in ``folder``, which may still be empty."""
    for name in (MANIFEST, MANIFEST_HASH):
        if name not in sizes:
            raise BundleError(f"{path}: is not a bundle: {name} is missing; {_RESTORE}")
    content = read(MANIFEST)
    trust.check(path, content, read(SIGNATURE) if SIGNATURE in sizes else None)
    digest = hashlib.sha256(content).hexdigest()
    if read(MANIFEST_HASH) != f"{digest}  {MANIFEST}\n".encode():
        raise BundleError(
            f"{path}: {MANIFEST} and {MANIFEST_HASH} do not belong together: one was changed; "
            f"{_RESTORE}"
        )
    manifest = _parse(path, folder, content, record)
    _check_names(path, manifest)
    _check_sizes(path, manifest.files, sizes)
    return manifest


def _read_seal(path: Path, name: str) -> bytes:
    """Reads one of the files that nothing has vouched for yet."""
    with (path / name).open("rb") as file:
        content = file.read(MAX_MANIFEST_BYTES + 1)
    if len(content) > MAX_MANIFEST_BYTES:
        raise BundleError(
            f"{path}: {name} must have {MAX_MANIFEST_BYTES >> 20} MB at most, has more; {_RESTORE}"
        )
    return content


def _files_of(path: Path) -> dict[str, int]:
    """Returns the size of each file of a folder, by its name in it."""
    sizes: dict[str, int] = {}
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            entry = Path(folder, name)
            status = entry.lstat()
            mode = status.st_mode
            relative = entry.relative_to(path).as_posix()
            if stat.S_ISREG(mode):
                sizes[relative] = status.st_size
            elif not stat.S_ISDIR(mode):
                kind = "a symbolic link" if stat.S_ISLNK(mode) else "not a plain file"
                raise BundleError(
                    f"{path}: {relative} is {kind}, and a bundle holds plain files only; {_RESTORE}"
                )
    return sizes


def _parse(path: Path, folder: Path, content: bytes, record: type[R]) -> R:
    try:
        values: Any = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path}: {MANIFEST} is not valid JSON ({error}); {_RESTORE}") from error
    version = values.get("format_version") if isinstance(values, dict) else None
    # Before the rest is looked at: a newer format may hold anything.
    if isinstance(version, int) and version > FORMAT_VERSION:
        writer = values.get("vadfast_version", "of a later version")
        raise BundleError(
            f"{path}: written by vadfast {writer} in format {version}; this version reads up to "
            "format "
            f"{FORMAT_VERSION}: upgrade vadfast"
        )
    wanted = "bags" if record is BagManifest else "frames"
    came = values.get("takes", "frames") if isinstance(values, dict) else wanted
    if came != wanted:
        raise BundleError(
            f"{path}: must be a bundle that scores {wanted} here, it scores {came}; python -m vadfast.evaluate takes either"
        )
    try:
        manifest = record.model_validate(values, context={"bundle": folder})
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"]) or "the whole"
        raise BundleError(
            f"{path}: {MANIFEST}: {where} is wrong ({fault['msg'].lower()}); {_RESTORE}"
        ) from error
    _check_minimum_runtime(path, manifest)
    return manifest


def _check_minimum_runtime(path: Path, manifest: Manifest | BagManifest) -> None:
    from vadfast import __version__

    try:
        wanted, here = _release(manifest.minimum_runtime), _release(__version__)
    except ValueError:
        raise BundleError(
            f"{path}: minimum_runtime must be a version like 0.1.0, got "
            f"{manifest.minimum_runtime!r}; {_RESTORE}"
        ) from None
    if wanted > here:
        raise BundleError(
            f"{path}: needs vadfast {manifest.minimum_runtime} or later, this is {__version__}: "
            "upgrade vadfast"
        )


def _check_scoring(path: Path, manifest: Manifest) -> None:
    """Makes what scores the first frame, so that numbers which the core refuses are found before it comes."""
    from vadfast.runtime.alert import Alert
    from vadfast.runtime.score import ChainState, run_chain

    spec, calibration = manifest.components, manifest.calibration
    if len({component.name for component in spec}) < len(spec):
        raise BundleError(f"{path}: {MANIFEST}: components must have a name each; {_RESTORE}")
    checks: dict[str, Callable[[], object]] = {
        "causal_chain": lambda: ChainState(manifest.causal_chain, spec, calibration),
        "paper_chain": lambda: run_chain(
            manifest.paper_chain, spec, [[0.0] * len(spec)], calibration
        ),
        "alert": lambda: Alert(manifest.alert),
    }
    for key, make in checks.items():
        try:
            make()
        # TypeError: a number that is none in C.
        except (UsageError, ValueError, TypeError) as error:
            raise BundleError(
                f"{path}: {MANIFEST}: {key} cannot be run ({first_line(error)}); {_RESTORE}"
            ) from error


def _release(version: str) -> tuple[int, ...]:
    """Returns (1, 2, 3) of "1.2.3", "1.2.3rc1" and "1.2.3.dev4"."""
    parts = version.split("+")[0].split(".")
    leading = [part[: len(part) - len(part.lstrip("0123456789"))] for part in parts[:3]]
    return tuple(int(digits) for digits in leading)


def _check_names(path: Path, manifest: Manifest | BagManifest) -> None:
    for name in manifest.files:
        pure = PurePosixPath(name)
        plain = name == pure.as_posix() and not pure.is_absolute() and ".." not in pure.parts
        if not plain or name in (".", *SEALS) or any(c in name for c in "\\:\0"):
            raise BundleError(
                f"{path}: {MANIFEST}: files must name plain files inside the bundle, got {name!r}; "
                "do not use this bundle"
            )
    used = {
        "model": manifest.model,
        "golden.frames": manifest.golden.frames,
        "golden.components": manifest.golden.components,
        **{f"artefacts.{i}.path": artefact.path for i, artefact in enumerate(manifest.artefacts)},
    }
    for key, name in used.items():
        if name not in manifest.files:
            raise BundleError(
                f"{path}: {MANIFEST}: {key} must be one of its files, got {name!r}; {_RESTORE}"
            )


def _check_sizes(path: Path, records: dict[str, FileRecord], sizes: dict[str, int]) -> None:
    for name in sorted(records.keys() - sizes):
        raise BundleError(f"{path}: {name} is missing; {_RESTORE}")
    for name in sorted(sizes.keys() - records - SEALS):
        raise BundleError(f"{path}: {name} does not belong to the bundle; delete it, or {_RESTORE}")
    for name, record in records.items():
        if sizes[name] != record.size:
            raise BundleError(
                f"{path}: {name} must have {record.size} bytes, has {sizes[name]}; {_RESTORE}"
            )


def _check_hashes(path: Path, folder: Path, records: dict[str, FileRecord]) -> None:
    for name, record in records.items():
        with (folder / name).open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if digest != record.sha256:
            raise BundleError(
                f"{path}: {name} was changed (its SHA-256 is not the one in {MANIFEST}); {_RESTORE}"
            )
