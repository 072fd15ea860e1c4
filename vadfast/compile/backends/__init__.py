"""What can run a model here: one file a backend, one protocol, and every refusal has its reason.

A backend makes the very engine that ``vadfast.score`` will load from the bundle; nothing is raced
that could not be shipped.
"""

import importlib
import importlib.util
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, get_args

from vadfast.runtime.engine import Engine, cpu_features

if TYPE_CHECKING:
    from torch import nn

    from vadfast.runtime.manifest import InputSpec

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
# The backends that are a ``--target`` of their own.
ON_GPU = ("tensorrt", "cuda")
INT8_MODEL = "artefacts/int8/model.onnx"


@dataclass(frozen=True, slots=True)
class Workshop:
    """What a backend builds from, and the folder, laid out like the bundle, that it builds in."""

    scorer: "nn.Module"
    spec: "InputSpec"
    run: Path | None  # the run directory that the scorer came from; None: somebody else's network
    folder: Path  # holds model.onnx
    threads: int | None = None


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
    from vadfast.compile.backends.eager import EagerBackend
    from vadfast.compile.backends.inductor import InductorBackend
    from vadfast.compile.backends.mnn import MNNBackend
    from vadfast.compile.backends.onnxruntime import ONNXRuntimeBackend
    from vadfast.compile.backends.openvino import OpenVINOBackend
    from vadfast.compile.backends.tensorrt import TensorRTBackend

    return (
        EagerBackend(),
        InductorBackend(),
        MNNBackend(),
        ONNXRuntimeBackend(),
        OpenVINOBackend(),
        TensorRTBackend(),
        CUDABackend(),
    )


def backends_of(target: str) -> tuple[Backend, ...]:
    """Returns those of ``--target``: auto is all, cpu all without a GPU, tensorrt and cuda themselves, and eager in each."""
    backends = all_backends()
    if target == "auto":
        return backends
    if target in ON_GPU:
        return tuple(b for b in backends if b.name in ("eager", target))
    return tuple(b for b in backends if b.name not in ON_GPU)


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
    """Returns what the CPU must have, by the names of ``cpu_features``; a GPU computes in all of them."""
    return () if backend.name in ON_GPU else _NEEDS.get(precision, ())


def asked_for(word: str) -> tuple[Precision, ...]:
    """Returns the precisions of ``--precision``: auto is all, and int8 whatever the layers are in that stay out of it."""
    if word == "auto":
        return PRECISIONS
    return tuple(p for p in PRECISIONS if p == word or p == f"{word}-bf16")


def versions(backend: Backend) -> dict[str, str]:
    """Returns the installed version of each package that ``backend`` runs on."""
    return {package: _version(package) for package in backend.packages}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # its distribution has another name: cupy is cupy-cuda13x's
        return str(importlib.import_module(package).__version__)
