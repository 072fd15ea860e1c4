"""Engines on disk, outside of any bundle: an engine is code for one GPU, driver and library, so each is checked before it is opened.

Beside ``NAME.engine`` lies ``NAME.json``: for what it was built, and the SHA-256 of its bytes. Whatever is not as it says is built
again, and why is said once.
"""

import hashlib
import json
import logging
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vadfast.caches import cache_folder
from vadfast.runtime.tensorrt.builder import Built
from vadfast.runtime.tensorrt.gpu import Gpu
from vadfast.runtime.tensorrt.library import Library
from vadfast.runtime.tensorrt.private_file import read_private, write_private
from vadfast.runtime.tensorrt.prune import hold, limit_bytes, prune

log = logging.getLogger(__name__)

_RECIPE = 1  # of how builder.py builds; raised with it


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Everything that an engine depends on."""

    model_sha256: str
    precision: str
    batch: int
    library: str
    gpu: str
    compute_capability: str
    driver: int
    recipe: int = _RECIPE


def fingerprint(
    model: Path, *, precision: str, batch: int, library: Library, gpu: Gpu
) -> Fingerprint:
    """Returns that of ``model`` on this machine."""
    with model.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Fingerprint(digest, precision, batch, library.name, gpu.name, gpu.capability, gpu.driver)


class EngineCache:
    """The engine of one fingerprint, and the timings that all engines of this library and GPU share."""

    def __init__(self, wanted: Fingerprint) -> None:
        """Only names files; nothing is read or made. Raises BackendError where the limit of the cache is no number."""
        self._limit = limit_bytes()
        folder = cache_folder() / "tensorrt"
        # Not the driver nor the version: what an update left behind is replaced, not kept for ever.
        library = wanted.library.split()[0]
        name = f"{wanted.model_sha256[:16]}-{wanted.precision}-b{wanted.batch}-{library}-{_plain(wanted.gpu)}"
        self._wanted = wanted
        self._engine, self._header = folder / f"{name}.engine", folder / f"{name}.json"
        self.kernels = folder / f"{name}.kernels"
        self._timings = folder / f"{_plain(wanted.library)}-{_plain(wanted.gpu)}.timings"

    def read(self) -> bytes | None:
        """Returns the engine, or None: there is none, or one that must not be opened, which is said."""
        try:
            return self._checked() if self._engine.exists() else None
        except (OSError, ValueError) as error:
            log.warning("tensorrt: %s cannot be used, building it again: %s", self._engine, error)
            return None

    def timings(self) -> bytes:
        """Returns what was measured of this GPU; empty where nothing was, or another user could have written it."""
        try:
            return read_private(self._timings)
        except (OSError, ValueError):
            return b""

    def write(self, built: Built) -> None:
        """Keeps what was built; where the disk is full or not ours, says so, and the next start builds again."""
        try:
            self.kernels.unlink(missing_ok=True)  # of the engine before
            write_private(self._engine, built.plan)
            header = asdict(self._wanted) | {"sha256": hashlib.sha256(built.plan).hexdigest()}
            write_private(self._header, (json.dumps(header, indent=1) + "\n").encode())
            if built.timings:
                write_private(self._timings, built.timings)
        except OSError as error:
            log.warning(
                "tensorrt: the engine runs but is not kept, so the next start builds it again: %s cannot be written (%s); "
                "set VADFAST_CACHE to a folder with %d MB free",
                self._engine,
                error.strerror or error,
                (len(built.plan) >> 20) + 1,
            )

    def hold(self) -> int | None:
        """Marks the engine as in use until the descriptor that is returned is closed; then makes room, at the cost of the others."""
        held = hold(self._engine)
        try:
            prune(self._engine.parent, self._limit, but=self._engine)
        except OSError as error:
            log.warning(
                "tensorrt: the cache is over %d MB, and %s cannot be deleted (%s); delete it, or set VADFAST_CACHE to another folder",
                self._limit >> 20,
                error.filename,
                error.strerror or error,
            )
        return held

    def _checked(self) -> bytes:
        header = _read_header(self._header)
        wanted = asdict(self._wanted)
        changed = [k for k in wanted if header.get(k) != wanted[k]]
        if changed:
            said = ", ".join(f"{k} {header.get(k)}, here is {wanted[k]}" for k in changed)
            raise ValueError(f"it was built for {said}")
        plan = read_private(self._engine)
        if hashlib.sha256(plan).hexdigest() != header.get("sha256"):
            raise ValueError("it was changed since it was built")
        return plan


def _read_header(file: Path) -> dict[str, Any]:
    content = read_private(file)
    try:
        header = json.loads(content)
    except ValueError as error:
        raise ValueError(f"{file.name} is damaged") from error
    if not isinstance(header, dict):
        raise ValueError(f"{file.name} is damaged")
    return header


def _plain(words: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", words).strip("-")
