"""TensorRT on an NVIDIA GPU: builds its engine from the bundle's ONNX file on the first start, and keeps it in a cache."""

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

from vadfast.errors import BackendError
from vadfast.runtime.engine import Outputs
from vadfast.runtime.tensorrt import plugins
from vadfast.runtime.tensorrt.builder import build
from vadfast.runtime.tensorrt.cache import EngineCache, fingerprint
from vadfast.runtime.tensorrt.gpu import Gpu, find_gpu, import_cupy
from vadfast.runtime.tensorrt.kernels import KernelCache
from vadfast.runtime.tensorrt.library import Library, Messages, find_library, made
from vadfast.runtime.tensorrt.session import Session

if TYPE_CHECKING:
    from vadfast.runtime.tensorrt.api import CudaEngine

log = logging.getLogger(__name__)

PRECISIONS = ("fp32", "fp16", "int8")


class TensorRTEngine:
    """One execution context on the first GPU, called with a fixed batch; not for several threads at once."""

    backend = "tensorrt"

    def __init__(self, session: Session, precision: str, held: int | None) -> None:
        """Use ``load``."""
        self._session = session
        self._held = held
        self._shape = session.shape
        self.precision = precision
        self.batch = session.shape[0]

    @classmethod
    def load(
        cls, model_path: Path, *, precision: str, batch: int, threads: int | None = None
    ) -> Self:
        """Opens the engine of ``model_path`` in the cache, or builds it, which takes seconds to minutes; ``threads`` changes nothing.

        Args:
            model_path: an ONNX file that computes in ``precision``: which, is decided there.
            precision: fp32 or fp16.
            batch: how many windows one call takes.
            threads: of the CPU, which has no work here.

        Raises:
            BackendError: TensorRT, CuPy, driver or GPU is absent, the GPU has no room, or the file cannot be built.
        """
        if precision not in PRECISIONS:
            raise BackendError(
                f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}"
            )
        gpu, library = find_gpu(), find_library()
        cls._prepare(library, gpu)
        wanted = fingerprint(model_path, precision=precision, batch=batch, library=library, gpu=gpu)
        kept, messages = EngineCache(wanted), Messages(library)
        plan = kept.read()
        engine = None if plan is None else _opened(library, messages, plan)
        if plan is not None and engine is None:
            log.warning(
                "tensorrt: %s refuses its cached engine, building it again: %s",
                library.name,
                messages.reason(),
            )
        if engine is None:
            log.info("tensorrt: building the engine for %s, once on this machine", gpu.name)
            built = build(library, model_path, batch=batch, timings=kept.timings())
            engine = _opened(library, messages, built.plan)
            if engine is None:
                raise BackendError(
                    f"{library.name} refuses the engine that it has just built for {gpu.name}: {messages.reason()}; "
                    "another version of it may take this GPU"
                )
            kept.write(built)
        kernels = KernelCache(kept.kernels) if library.is_rtx else None
        return cls(Session(library, engine, messages, kernels), precision, kept.hold())

    @classmethod
    def _prepare(cls, library: Library, gpu: Gpu) -> None:
        """Makes ``library`` ready for the file; raises BackendError where it cannot be."""

    def __call__(self, frames: npt.NDArray[np.uint8]) -> Outputs:
        """Scores ``frames`` uint8 [batch, T, H, W, 3]. Raises BackendError where the GPU fails."""
        if frames.dtype != np.uint8 or frames.shape != self._shape:
            raise ValueError(
                f"frames must be uint8 {list(self._shape)}, got {frames.dtype} {list(frames.shape)}"
            )
        return self._session(frames)

    def close(self) -> None:
        """Gives the GPU's memory back, and lets the cached engine go."""
        self._session.close()
        if self._held is not None:
            os.close(self._held)
            self._held = None


class TensorRTPluginEngine(TensorRTEngine):
    """The same for a file whose criss-cross attention is our own kernel, given to TensorRT as a plugin."""

    backend = "tensorrt-plugin"

    @classmethod
    def _prepare(cls, library: Library, gpu: Gpu) -> None:
        plugins.register(library, gpu)


def missing() -> str | None:
    """Returns None, or in a few words what keeps TensorRT from running on this machine: what is hardest to mend first."""
    try:
        find_gpu()
        find_library()
    except BackendError as error:
        return str(error)
    return None


def plugin_missing() -> str | None:
    """Returns the same for ``TensorRTPluginEngine``, which needs more."""
    return missing() or plugins.refusal(find_library(), find_gpu())


def installed() -> tuple[str, ...]:
    """Returns the packages that it runs on here, as they are imported; none where something is missing."""
    return () if missing() else (find_library().module, import_cupy().__name__)


def _opened(library: Library, messages: Messages, plan: bytes) -> "CudaEngine | None":
    """Returns None where TensorRT cannot open ``plan``. Raises BackendError where it cannot open any."""
    runtime = made(library, messages, "runtime", lambda: library.trt.Runtime(messages.logger))
    return runtime.deserialize_cuda_engine(plan)
