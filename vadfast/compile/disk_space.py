"""How much room a compile run takes, by files: of what it writes, and of its temporary folder; estimates from the size of the weights."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vadfast.cli import nearest_folder
from vadfast.compile.backends import INT8_MODEL, Backend, Precision
from vadfast.compile.bundle import GOLDEN, n_golden
from vadfast.compile.sbom import LICENCES
from vadfast.compile.teachers import FOLDER, networks_of
from vadfast.runtime.zipped import is_zipped

if TYPE_CHECKING:
    from vadfast.compile.plan import Plan

# Of the bytes of float32 weights, where an engine does not read the weights of the run themselves.
_OF_FLOAT32: dict[Precision, float] = {"fp16": 0.5, "int8": 0.25, "int8-bf16": 0.25}
_LICENCES = 1_000_000  # with the bill of materials; the packages of all CPU engines
_GRAPH = 50_000  # a model's nodes and names: of the methods here, 20 to 100 kB
_CODE = 1_000_000  # that Inductor compiles


def bundle_bytes(
    plan: "Plan", engines: Sequence[tuple[Backend, Precision]], golden_ms: float
) -> dict[str, int]:
    """Returns the bytes of each file, or folder of files, that is written: about, and if all of ``engines`` that may ship pass the gate.

    Args:
        plan: of the run.
        engines: those that can run here.
        golden_ms: about how long the fastest that may ship takes a window: how many golden windows there are follows from it.
    """
    spec = plan.model.input
    window = spec.n_pictures * spec.height * spec.width * 3
    sizes = _models(plan, [pair for pair in engines if pair[0].name in plan.options.ship])
    sizes[GOLDEN.frames] = n_golden(golden_ms) * window
    networks = [file.stat().st_size for file in networks_of(spec) if file.is_file()]
    if networks:
        sizes[FOLDER] = sum(networks)
    if plan.options.format == "bundle":  # a server brings its own packages
        sizes[LICENCES] = _LICENCES
    return sizes


def scratch_bytes(plan: "Plan", engines: Sequence[tuple[Backend, Precision]], bundle: int) -> int:
    """Returns about how much lies in the temporary folder at most: the files of all ``engines``, and ``bundle`` where it is made there first."""
    sizes = _models(plan, engines)
    total = sum(sizes.values())
    if INT8_MODEL in sizes:
        total += sizes["model.onnx"]  # the copy whose layers return their ranges
    # What is compiled holds the weights, and then the package once more.
    total += sum(_weights(plan) for backend, _ in engines if backend.name.endswith("inductor"))
    if is_zipped(plan.out) or plan.options.format != "bundle":
        total += bundle
    return total


def free_bytes(folder: Path) -> int:
    """Returns what is free where ``folder`` is, or would be made."""
    return shutil.disk_usage(nearest_folder(folder.absolute())).free


def _models(plan: "Plan", engines: Sequence[tuple[Backend, Precision]]) -> dict[str, int]:
    weights = _weights(plan)
    sizes = {"model.onnx": weights + _GRAPH}
    for backend, precision in engines:
        if backend.name.endswith("inductor"):
            size = weights + _CODE
        elif "torch" in backend.packages:
            size = weights
        else:
            size = round(weights * _OF_FLOAT32.get(precision, 1)) + _GRAPH
        path = backend.path(precision)
        sizes[path] = max(size, sizes.get(path, 0))
    return sizes


def _weights(plan: "Plan") -> int:
    return sum(v.numel() * v.element_size() for v in plan.model.scorer.state_dict().values())
