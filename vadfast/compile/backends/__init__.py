"""What can run a model here: one file a backend, one protocol, and every refusal has its reason.

A backend makes the very engine that ``vadfast.score`` will load from the bundle; nothing is raced
that could not be shipped.
"""

import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, get_args

from vadfast.compile.distributions import version_of
from vadfast.compile.instructions import native_instructions
from vadfast.runtime.engine import COMPILED_WITH, Engine, cpu_features

if TYPE_CHECKING:
    from torch import nn

    from vadfast.compile.aot_package import Packaging
    from vadfast.runtime.manifest import InputSpec, Threads

# "int8-bf16": the layers that the gate keeps out of 8 bits are in bf16, not in fp32.
Precision = Literal["fp32", "bf16", "fp16", "int8", "int8-bf16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
# What a precision asks of a CPU, by the names of ``cpu_features``, and in words.
_NEEDS: dict[Precision, tuple[str, ...]] = {
    "bf16": ("bf16",),
    "int8": ("int8",),
    "int8-bf16": ("int8", "bf16"),
}
_NEEDED = {
    "bf16": "bf16 instructions",
    "int8": "8-bit dot products (VNNI, AMX, or those of ARMv8.2)",
}
# Each ``--target`` that is a GPU, and its backends.
ON_GPU = {"tensorrt": ("tensorrt", "tensorrt-plugin"), "cuda": ("cuda", "cuda-inductor")}
INT8_MODEL = "artefacts/int8/model.onnx"


@dataclass(frozen=True, slots=True)
class Workshop:
    """What a backend builds from, and the folder, laid out like the bundle, that it builds in."""

    scorer: "nn.Module"
    spec: "InputSpec"
    run: Path | None  # the run directory that the scorer came from; None: somebody else's network
    folder: Path  # holds model.onnx
    threads: int | None = None  # as asked for
    tuned: Mapping[str, "Threads"] = field(default_factory=dict)  # as measured, by backend
    begun: Mapping[str, "Packaging"] = field(default_factory=dict)  # by the path of the package

    def n_threads(self, backend: str) -> int | None:
        """How many ``backend`` is told to take; None: nothing."""
        tuned = self.tuned.get(backend)
        return self.threads or (tuned.n if tuned else None)

    def pinned(self, backend: str) -> bool | None:
        """Whether the threads of ``backend`` are told to keep to their CPUs; None: nothing."""
        tuned = self.tuned.get(backend)
        return tuned.pinned if tuned else None


class Backend(Protocol):
    """One way to run the model."""

    name: str
    precisions: tuple[Precision, ...]

    @property
    def packages(self) -> tuple[str, ...]:
        """Returns what it imports, whose versions the manifest records."""
        ...

    def path(self, precision: Precision) -> str:
        """Returns which file it loads, relative to the bundle."""
        ...

    def can_run(self, precision: Precision) -> str | None:
        """Returns None, or in a few words why this machine cannot."""
        ...

    def build(self, workshop: Workshop, precision: Precision, batch: int) -> Engine:
        """Writes what it needs under ``workshop.folder`` and loads it. Raises BackendError."""
        ...


def all_backends() -> tuple[Backend, ...]:
    """Returns the backends in the order of the table; ``eager`` is first because all others are compared with it."""
    from vadfast.compile.backends.cuda import CUDABackend
    from vadfast.compile.backends.cuda_inductor import CUDAInductorBackend
    from vadfast.compile.backends.eager import EagerBackend
    from vadfast.compile.backends.inductor import InductorBackend
    from vadfast.compile.backends.mnn import MNNBackend
    from vadfast.compile.backends.onnxruntime import ONNXRuntimeBackend
    from vadfast.compile.backends.openvino import OpenVINOBackend
    from vadfast.compile.backends.tensorrt import TensorRTBackend
    from vadfast.compile.backends.tensorrt_plugin import TensorRTPluginBackend

    return (
        EagerBackend(),
        InductorBackend(),
        MNNBackend(),
        ONNXRuntimeBackend(),
        OpenVINOBackend(),
        TensorRTBackend(),
        TensorRTPluginBackend(),
        CUDABackend(),
        CUDAInductorBackend(),
    )


def backends_of(target: str) -> tuple[Backend, ...]:
    """Returns those of ``--target``: auto is all, cpu all without a GPU, tensorrt and cuda their own, and eager in each."""
    backends = all_backends()
    if target == "auto":
        return backends
    if target in ON_GPU:
        return tuple(b for b in backends if b.name in ("eager", *ON_GPU[target]))
    return tuple(b for b in backends if not _is_on_gpu(b))


def _is_on_gpu(backend: Backend) -> bool:
    return any(backend.name in names for names in ON_GPU.values())


def refusal(backend: Backend, precision: Precision) -> str | None:
    """Returns what stands against ``backend`` before it is even asked: a missing package or instruction set."""
    for package in backend.packages:
        if importlib.util.find_spec(package) is None:
            return f"{package} is not installed"
    missing = [need for need in needs(backend, precision) if need not in cpu_features()]
    if missing:
        return (
            f"cannot run here: this CPU has no {' and no '.join(map(_NEEDED.__getitem__, missing))}"
        )
    return backend.can_run(precision)


def needs(backend: Backend, precision: Precision) -> tuple[str, ...]:
    """Returns what the CPU must have, by the names of ``cpu_features``; a GPU computes in all precisions.

    Code that is compiled here needs all that the compiler found here: a CPU without one of them would end the process.
    """
    asked = () if _is_on_gpu(backend) else _NEEDS.get(precision, ())
    return (*asked, *native_instructions()) if backend.name in COMPILED_WITH else asked


def compute_capability(backend: Backend) -> str | None:
    """Returns that of the GPU that ``backend`` compiles code for; None where it compiles none that a bundle has."""
    from vadfast.runtime.tensorrt.gpu import gpu_capability

    return gpu_capability() if _is_on_gpu(backend) and backend.name in COMPILED_WITH else None


def asked_for(word: str) -> tuple[Precision, ...]:
    """Returns the precisions of ``--precision``: auto is all, and int8 whatever the layers are in that stay out of it."""
    if word == "auto":
        return PRECISIONS
    return tuple(p for p in PRECISIONS if p == word or p == f"{word}-bf16")


def pairs_of(target: str, word: str) -> Iterator[tuple[Backend, Precision]]:
    """Yields every candidate of ``--target`` and ``--precision``, able to run or not; eager is one of all, which are compared with it."""
    wanted = asked_for(word)
    for backend in backends_of(target):
        for precision in backend.precisions:
            if precision in wanted or backend.name == "eager":
                yield backend, precision


def versions(backend: Backend) -> dict[str, str]:
    """Returns the installed version of each package that ``backend`` runs on."""
    return {package: version_of(package) for package in backend.packages}
