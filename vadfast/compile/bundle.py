"""Writes a bundle: files first, then the manifest with the hash of each, then its own hash and signature.

The folder appears under its name only when it is complete; an older bundle of that name is replaced
in the same moment.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from vadfast.atomic import atomic_directory
from vadfast.cli import takes_files
from vadfast.compile.sbom import write_bill
from vadfast.compile.signing import sign
from vadfast.compile.windows import Run, spread
from vadfast.errors import UsageError
from vadfast.runtime.bag_manifest import BagManifest
from vadfast.runtime.bundle import MANIFEST, MANIFEST_HASH, SEALS
from vadfast.runtime.manifest import FileRecord, Golden, Manifest
from vadfast.runtime.zipped import is_zipped, pack

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

M = TypeVar("M", Manifest, BagManifest)

GOLDEN = Golden(frames="golden/frames.npy", components="golden/components.npy")

# The first version of the runtime that reads format 1.
MINIMUM_RUNTIME = "0.1.0"

MAX_GOLDEN = 8
MIN_GOLDEN = 2
# The self-test runs at every load and has its share of the two seconds to the first score.
_GOLDEN_BUDGET_MS = 800.0


@dataclass(frozen=True, slots=True)
class GoldenWindows:
    """Real windows, or bags, and what eager float32 says about them."""

    frames: npt.NDArray[Any]  # uint8 [n, T, H, W, 3]; of bags float32 [n, N, C]
    components: npt.NDArray[np.float32]  # [n, K]; of bags their scores [n, N]


def n_golden(median_ms: float) -> int:
    """Returns how many windows a bundle carries: up to 8, fewer where ``median_ms`` each would make loading slow."""
    return int(np.clip(_GOLDEN_BUDGET_MS // median_ms, MIN_GOLDEN, MAX_GOLDEN))


def choose_golden(
    runs: Sequence[Run], components: Sequence[npt.NDArray[np.float32]], *, median_ms: float
) -> GoldenWindows:
    """Takes ``n_golden`` windows, spread over the normal runs."""
    n = n_golden(median_ms)
    places = [(r, i) for r, run in enumerate(runs) if run.labels is None for i in range(len(run))]
    chosen = [places[j] for j in spread(len(places), n)]
    return GoldenWindows(
        np.concatenate([runs[r].window(i) for r, i in chosen]),
        np.stack([components[r][i] for r, i in chosen]),
    )


def now() -> str:
    """Returns the time of ``created``: this one, or SOURCE_DATE_EPOCH where a build must be the same again."""
    fixed = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        moment = datetime.now(UTC) if fixed is None else datetime.fromtimestamp(int(fixed), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(
            f"SOURCE_DATE_EPOCH: must be seconds since 1970, got {fixed!r}; set it right or unset it"
        ) from error
    return moment.isoformat(timespec="seconds")


def check_target(out: Path) -> None:
    """Raises UsageError where a bundle could not be written to ``out``, or would replace something that is none; makes nothing."""
    if not takes_files(out.absolute().parent):
        raise UsageError(
            f"--out: {out.parent} must be a folder that can be written to, new or not; choose another"
        )
    if is_zipped(out) and out.is_dir():
        raise UsageError(f"--out: {out} must be a file to write, is a folder; choose another name")
    if out.is_symlink() or (out.exists() and not out.is_dir() and not is_zipped(out)):
        raise UsageError(
            f"--out: must be a new folder or a bundle to replace, got a file at {out}; choose another name"
        )
    if out.is_dir() and any(out.iterdir()) and not (out / MANIFEST).is_file():
        raise UsageError(
            f"--out: {out} exists and is not a bundle, so it is not replaced; choose another name"
        )


def write_bundle(
    out: Path,
    manifest: M,
    *,
    folder: Path,
    files: Sequence[str],
    golden: GoldenWindows,
    key: "Ed25519PrivateKey",
    served_as: str | None = None,
) -> M:
    """Writes ``files`` of ``folder``, the golden windows and the ``manifest``, sealed with ``key``, to ``out``; returns the sealed one.

    ``out`` named ``*.vad.zip`` is one file, any other name a folder. ``served_as`` is that of ``write_bill``.
    """
    if is_zipped(out):
        with tempfile.TemporaryDirectory(prefix="vadfast-zip-") as scratch:
            inside = Path(scratch, "bundle")
            sealed = write_bundle(
                inside,
                manifest,
                folder=folder,
                files=files,
                golden=golden,
                key=key,
                served_as=served_as,
            )
            pack(inside, out)
        return sealed
    with atomic_directory(out) as temporary:
        for name in dict.fromkeys(files):
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, temporary / name)
        (temporary / manifest.golden.frames).parent.mkdir()
        np.save(temporary / manifest.golden.frames, golden.frames, allow_pickle=False)
        np.save(temporary / manifest.golden.components, golden.components, allow_pickle=False)
        write_bill(temporary, manifest, served_as=served_as)
        return seal(temporary, manifest, key)


def seal(directory: Path, manifest: M, key: "Ed25519PrivateKey") -> M:
    """Records every file of ``directory`` in ``manifest``, writes it, its hash and its signature there, and returns it."""
    names = sorted(
        path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()
    )
    files = {name: _record(directory / name) for name in names if name not in SEALS}
    sealed = manifest.model_copy(update={"files": files})
    content = (sealed.model_dump_json(indent=2) + "\n").encode()
    (directory / MANIFEST).write_bytes(content)
    (directory / MANIFEST_HASH).write_bytes(
        f"{hashlib.sha256(content).hexdigest()}  {MANIFEST}\n".encode()
    )
    sign(directory, content, key)
    return sealed


def _record(path: Path) -> FileRecord:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileRecord(sha256=digest, size=path.stat().st_size)
