"""What can run a model here: one file a backend, one protocol, and every refusal has its reason.

A backend makes the very engine that ``vadfast.score`` will load from the bundle; nothing is raced
that could not be shipped.
"""

import importlib.util
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from vadfast.runtime.engine import Engine, cpu_features

if TYPE_CHECKING:
    from torch import nn

    from vadfast.runtime.manifest import InputSpec

Precision = Literal["fp32", "bf16"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")


@dataclass(frozen=True, slots=True)
class Workshop:
    """What a backend builds from, and the folder, laid out like the bundle, that it builds in."""

    scorer: "nn.Module"
    spec: "InputSpec"
    run: Path  # the run directory that the scorer came from
    folder: Path  # holds model.onnx
    threads: int | None = None


class Backend(Protocol):
    """One way to run the model."""

    name: str
    precisions: tuple[Precision, ...]
    path: str  # of the file it loads, relative to the bundle
    packages: tuple[str, ...]  # whose versions the manifest records

    def can_run(self, precision: Precision) -> str | None:
        """Returns None, or in a few words why this machine cannot."""
        ...

    def build(self, workshop: Workshop, precision: Precision, batch: int) -> Engine:
        """Writes what it needs under ``workshop.folder`` and loads it. Raises BackendError."""
        ...


def all_backends() -> tuple[Backend, ...]:
    """Returns the backends in the order of the table; ``eager`` is first because all others are compared with it."""
    from vadfast.compile.backends.eager import EagerBackend
    from vadfast.compile.backends.inductor import InductorBackend
    from vadfast.compile.backends.mnn import MNNBackend
    from vadfast.compile.backends.onnxruntime import ONNXRuntimeBackend
    from vadfast.compile.backends.openvino import OpenVINOBackend

    return (
        EagerBackend(),
        InductorBackend(),
        MNNBackend(),
        ONNXRuntimeBackend(),
        OpenVINOBackend(),
    )


def refusal(backend: Backend, precision: Precision) -> str | None:
    """Returns what stands against ``backend`` before it is even asked: a missing package or instruction set."""
    for package in backend.packages:
        if importlib.util.find_spec(package) is None:
            return f"{package} is not installed"
    if precision == "bf16" and "bf16" not in cpu_features():
        return "cannot run here: this CPU has no bf16 instructions"
    return backend.can_run(precision)


def versions(backend: Backend) -> dict[str, str]:
    """Returns the installed version of each package that ``backend`` runs on."""
    return {package: version(package) for package in backend.packages}
