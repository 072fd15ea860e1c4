"""What TensorRT-RTX compiled for this GPU, kept beside the engine.

It compiles an engine's kernels when the engine runs first, in each process again, unless it is given what came of that before. Whether
that fits this GPU, driver and version it checks itself; what does not is compiled anew and replaced.
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from vadfast.errors import BackendError
from vadfast.runtime.tensorrt.library import Library, Messages, made
from vadfast.runtime.tensorrt.private_file import read_private, write_private

if TYPE_CHECKING:
    from vadfast.runtime.tensorrt.api import Context
    from vadfast.runtime.tensorrt.rtx_api import RtxEngine, RuntimeCache, RuntimeConfig

log = logging.getLogger(__name__)

MAX_BYTES = (
    256 << 20
)  # of one engine's kernels: more than any engine here has, less than would fill a small disk


class KernelCache:
    """The compiled kernels of one engine."""

    def __init__(self, file: Path) -> None:
        """Only names the file; nothing is read or made."""
        self._file = file
        self._given = b""
        self._config: RuntimeConfig | None = None  # the context needs it
        self._cache: RuntimeCache | None = None

    def context(
        self, engine: "RtxEngine", library: Library, messages: Messages
    ) -> "Context | None":
        """Returns an execution context of ``engine`` that takes kernels from here, and puts new ones here; None as TensorRT does.

        Raises:
            BackendError: TensorRT-RTX has nowhere to put them.
        """
        config = made(library, messages, "configuration", engine.create_runtime_config)
        self._config = config
        self._cache = made(library, messages, "cache of kernels", config.create_runtime_cache)
        self._given = self._read()
        if self._given and not self._cache.deserialize(self._given):
            log.info(
                "tensorrt: %s is of another GPU, driver or version, compiling again", self._file
            )
            self._given = b""
        if not config.set_runtime_cache(self._cache):
            raise BackendError(
                f"{library.name} does not take its cache of kernels: {messages.reason()}; take another --backend"
            )
        return engine.create_execution_context(config)

    def keep(self) -> None:
        """Writes what there is since ``context``, if it is more; where it cannot, says so, and the next start compiles again."""
        assert self._cache is not None
        kernels = bytes(self._cache.serialize())
        if kernels == self._given:
            return
        reason: object = f"{len(kernels) >> 20} MB of them, {MAX_BYTES >> 20} MB are kept at most"
        if len(kernels) <= MAX_BYTES:
            try:
                write_private(self._file, kernels)
                return
            except OSError as error:
                reason = error.strerror or error
        log.warning(
            "tensorrt: the kernels that were compiled for this GPU are not kept, so the next start compiles them again: %s cannot be "
            "written (%s); set VADFAST_CACHE to a folder with room",
            self._file,
            reason,
        )

    def close(self) -> None:
        """Gives TensorRT's part back."""
        self._cache = self._config = None

    def _read(self) -> bytes:
        if not self._file.exists():
            return b""
        try:
            if self._file.stat().st_size > MAX_BYTES:
                raise ValueError(f"it must have at most {MAX_BYTES >> 20} MB")
            return read_private(self._file)
        except (OSError, ValueError) as error:
            log.warning("tensorrt: %s cannot be used, compiling again: %s", self._file, error)
            return b""
