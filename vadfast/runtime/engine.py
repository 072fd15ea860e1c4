"""What runs the model: one small protocol, and the choice among the engines of a bundle.

An engine is a function from windows to a few floats. It owns no threads that outlive ``close`` and
returns copies, never views of its own memory, so a caller may keep results while the next batch
runs.
"""

import importlib
import logging
import math
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from vadfast.errors import BackendError, EngineMismatch

if TYPE_CHECKING:
    from vadfast.runtime.bundle import Bundle
    from vadfast.runtime.manifest import Artefact

log = logging.getLogger(__name__)

# Of uint8 frames: 8 windows of 5 frames in 4K.
MAX_CALL_BYTES = 1 << 30

# Backend name -> "module:class". Strings, because the last four need torch and are imported only
# when one of them is chosen.
ENGINES = {
    "mnn": "vadfast.runtime.engines.mnn:MNNEngine",
    "openvino": "vadfast.runtime.engines.openvino:OpenVINOEngine",
    "onnxruntime": "vadfast.runtime.engines.onnxruntime:ONNXRuntimeEngine",
    "tensorrt": "vadfast.runtime.engines.tensorrt:TensorRTEngine",
    "tensorrt-plugin": "vadfast.runtime.engines.tensorrt:TensorRTPluginEngine",
    "inductor": "vadfast.compile.backends.inductor:InductorEngine",
    "cuda": "vadfast.compile.backends.cuda:CUDAEngine",
    "cuda-inductor": "vadfast.compile.backends.cuda_inductor:CUDAInductorEngine",
    "eager": "vadfast.compile.backends.eager:EagerEngine",
}

# Backends whose artefact is machine code, for one kind of CPU and GPU, and the package that it calls. How the two fit together is
# promised for one version of the package alone: another may misread what is passed, and say nothing.
COMPILED_WITH = {"inductor": "torch", "cuda-inductor": "torch"}


@dataclass(frozen=True, slots=True)
class Outputs:
    """What the model says about a batch of windows."""

    components: npt.NDArray[np.float32]  # [B, K]
    heatmap: npt.NDArray[np.float32]  # [B, h, w]


class Engine(Protocol):
    """Runs the model on exactly ``batch`` windows at a time."""

    @property
    def backend(self) -> str:
        """Its name in the manifest and on the command line."""
        ...

    @property
    def precision(self) -> str:
        """The precision it really computes in."""
        ...

    @property
    def batch(self) -> int:
        """How many windows one call takes."""
        ...

    def __call__(self, frames: npt.NDArray[np.uint8]) -> Outputs:
        """Scores ``frames`` uint8 [batch, T, H, W, 3]."""
        ...

    def close(self) -> None:
        """Gives its memory and threads back; calling it twice is harmless."""
        ...


def open_engine(
    bundle: "Bundle",
    *,
    backend: str = "auto",
    batch: int | None = None,
    threads: int | None = None,
) -> Engine:
    """Loads the first artefact of ``bundle`` that runs here, checked on the golden windows.

    ``auto`` tries all artefacts in the order of the manifest, which is the smallest batch first; a named backend only its own, and
    ``batch`` those of so many windows a call.

    Raises:
        BackendError: nothing that was asked for can run here; the message has the reason of each.
        EngineMismatch: the engine runs, but does not give the scores that the bundle was sealed
            with.
    """
    from vadfast.runtime.selftest import check_golden

    artefacts = bundle.manifest.artefacts
    candidates = [a for a in artefacts if backend in ("auto", a.backend)]
    if not candidates:
        shipped = ", ".join(dict.fromkeys(a.backend for a in artefacts))
        raise BackendError(
            f"--backend: must be auto or one that {bundle.path.name} ships ({shipped}), got "
            f"{backend!r}; "
            "compile again with --ship to add it"
        )
    if batch is not None:
        ladder = sorted({a.batch for a in candidates})
        if batch not in ladder:
            raise BackendError(
                f"batch: must be one that {bundle.path.name} ships ({', '.join(map(str, ladder))}), got {batch}; compile again with "
                "--batch"
            )
        candidates = [a for a in candidates if a.batch == batch]
    refused: list[str] = []
    for artefact in candidates:
        try:
            engine = load_artefact(bundle, artefact, threads)
        except EngineMismatch:
            raise
        except BackendError as error:
            refused.append(f"{artefact.backend} {artefact.precision}: {error}")
            continue
        try:
            # One call: what differs on this machine differs in any window, and the first score of a
            # large model must not wait for several.
            check_golden(bundle, engine, artefact, n_windows=engine.batch)
        except BaseException:
            engine.close()
            raise
        _say_choice(engine, refused)
        return engine
    raise BackendError(
        f"{bundle.path.name}: none of its engines can run on this machine ({'; '.join(refused)}); "
        "compile the run again on this machine"
    )


def run_windows(
    engine: Engine, windows: Sequence[npt.NDArray[np.uint8]] | npt.NDArray[np.uint8]
) -> Iterator[Outputs]:
    """Yields what ``engine`` says about ``windows`` [T, H, W, 3] each, a batch a call; the last one is filled up with the last window."""
    for first in range(0, len(windows), engine.batch):
        part = list(windows[first : first + engine.batch])
        outputs = engine(np.stack(part + part[-1:] * (engine.batch - len(part))))
        yield Outputs(outputs.components[: len(part)], outputs.heatmap[: len(part)])


def shape_of_call(model: Path, batch: int, window: Sequence[Any]) -> tuple[int, ...]:
    """Returns the shape of the ``frames`` of one call, ``batch`` of the ``window`` [T, H, W, 3] that ``model`` declares.

    Raises:
        BackendError: a size is open, or frames of that shape would be no window of a camera but a way to take the memory.
    """
    shape = (batch, *window)
    fixed = all(isinstance(size, int) and size > 0 for size in shape)
    if not fixed or len(shape) != 5 or math.prod(shape) > MAX_CALL_BYTES:
        raise BackendError(
            f"{model}: frames must be [T, H, W, 3] of fixed sizes, {MAX_CALL_BYTES >> 20} MB a call at most, got {list(window)} and batch {batch}; "
            "compile the run again"
        )
    return shape


def n_cpus() -> int:
    """Returns how many CPUs this process may use."""
    return len(os.sched_getaffinity(0))


@cache
def cpu_features() -> frozenset[str]:
    """Returns the instruction sets that Linux reports, ``bf16`` and ``int8`` for any form of them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    flags: set[str] = set()
    for line in lines:
        if line.lower().startswith(("flags", "features")):  # x86 / ARM
            flags.update(line.partition(":")[2].split())
            break
    if flags & {"avx512_bf16", "amx_bf16"}:
        flags.add("bf16")
    # Products of four 8-bit pairs at once. Without them x86 adds pairs in 16 bits, which overflow.
    if flags & {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"}:
        flags.add("int8")
    return frozenset(flags)


def load_artefact(bundle: "Bundle", artefact: "Artefact", threads: int | None = None) -> Engine:
    """Loads one ``artefact`` of ``bundle``, untested. Raises BackendError with the reason why it cannot run here."""
    if refusal := _unfit(artefact):
        raise BackendError(refusal)
    told, extra = artefact.threads, {}
    if told is not None and told.cpus == n_cpus():  # elsewhere it is as good as any other guess
        threads = threads or told.n
        extra = {} if told.pinned is None else {"pinned": told.pinned}
    load: Callable[..., Engine] = _engine_class(artefact.backend).load
    return load(
        bundle.file(artefact.path),
        precision=artefact.precision,
        batch=artefact.batch,
        threads=threads,
        **extra,
    )


def _unfit(artefact: "Artefact") -> str | None:
    """Returns None, or why the code of ``artefact`` is not this machine's: loaded all the same, it might end the process."""
    missing = [need for need in artefact.needs if need not in cpu_features()]
    if missing:
        return f"needs {', '.join(missing)}, which this CPU ({platform.machine()}) does not have"
    if artefact.compute_capability is not None:
        from vadfast.runtime.tensorrt.gpu import driver_refusal, gpu_capability

        here = gpu_capability()
        if here != artefact.compute_capability:
            came = f"has {here}" if here else f"tells none ({driver_refusal() or 'its driver'})"
            return f"needs a GPU of compute capability {artefact.compute_capability}, this machine {came}"
    package = COMPILED_WITH.get(artefact.backend)
    if package is not None:
        built, found = artefact.versions.get(package), installed_version(package)
        if found is None:
            return f"needs {package} {built}, which is not installed"
        if found != built:
            return (
                f"was compiled with {package} {built}, here is {found}, which may not call it right"
            )
    return None


def installed_version(package: str) -> str | None:
    """Returns the version of ``package``, or None. Nothing of it is imported."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


class _Loadable(Protocol):
    def load(
        self, model: Path, *, precision: str, batch: int, threads: int | None = None
    ) -> Engine: ...


def _engine_class(backend: str) -> _Loadable:
    if backend not in ENGINES:
        raise BackendError(f"is not known to this version of vadfast (known: {', '.join(ENGINES)})")
    module, _, name = ENGINES[backend].partition(":")
    try:
        loadable: _Loadable = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise BackendError(f"cannot be imported ({error}); install what it needs") from error
    return loadable


def _say_choice(engine: Engine, refused: list[str]) -> None:
    for reason in refused:
        log.warning("engine refused: %s", reason)
    log.info("engine: %s %s, batch %d", engine.backend, engine.precision, engine.batch)
