"""What ``--dry-run`` says: what a compile run would do, from what, for how long, in how much room; nothing is written."""

import math
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from vadfast.compile.backends import Backend, Precision, pairs_of, refusal
from vadfast.compile.disk_space import bundle_bytes, free_bytes, scratch_bytes
from vadfast.compile.int8 import N_RANGES
from vadfast.compile.judging import EVERY
from vadfast.compile.plan import Plan
from vadfast.models.eager import EagerEngine
from vadfast.race import FAR, N_WARM_UP, RETIRING

# Of eager's time on a window, as measured for ADL of 256 px on an EPYC with AVX-512, VNNI and bf16, 2026-11-22 (docs/bundles.md). What
# was not measured is taken to be as slow as eager.
_OF_EAGER: dict[tuple[str, Precision], float] = {
    ("openvino", "int8-bf16"): 0.18,
    ("openvino", "int8"): 0.19,
    ("openvino", "bf16"): 0.34,
    ("openvino", "fp32"): 0.69,
    ("onnxruntime", "int8"): 0.43,
    ("onnxruntime", "fp32"): 0.74,
    ("mnn", "fp32"): 0.46,
    ("inductor", "fp32"): 0.89,
}
_TURN_S = 0.08  # what a turn of the race lasts besides a call: the pause before it, and tiny models are called for 20 ms
# Compilation; Inductor's on the CPU takes 30 s of one core, beside what takes both.
_BUILD_S = {"inductor": 15.0, "cuda-inductor": 60.0}
_OTHER_BUILD_S = 1.0
_EXPORT_S = 8.0
_MEASURE_S = 1.0


def foresee(plan: Plan) -> dict[str, Any]:
    """Returns what ``--dry-run --json`` writes: plain values. It takes a second, in which eager float32 is timed."""
    spec, options = plan.model.input, plan.options
    engines, candidates = [], []
    for backend, precision in pairs_of(options.target, options.precision):
        reason = refusal(backend, precision)
        candidates.append(
            {
                "backend": backend.name,
                "precision": precision,
                "may_ship": backend.name in options.ship,
                "refused": reason,
            }
        )
        if reason is None:
            engines.append((backend, precision))
    eager_s = _eager_s(plan)
    sizes = bundle_bytes(plan, engines, _fastest(plan, engines) * eager_s * 1e3)
    n_bytes = sum(sizes.values())
    return {
        "out": str(plan.out),
        "format": options.format,
        "replaces": plan.out.exists(),
        "run": None if plan.run is None else str(plan.run),
        "method": plan.model.method,
        "input": {"n_frames": spec.n_frames, "width": spec.width, "height": spec.height},
        "candidates": candidates,
        "race": {"rounds": options.rounds, "batches": list(options.batches)},
        "gate": {
            "n_windows": sum(run.n for run in plan.runs),
            "n_runs": len(plan.runs),
            "labels": plan.labels_words,
        },
        "calibration": {"n_frames": plan.n_normal_frames, "source": plan.normal_words},
        "time": {"estimate_s": estimate_s(plan, engines, eager_s), "eager_ms": eager_s * 1e3},
        "disk": {
            "bytes": n_bytes,
            "of": sizes,
            "free": free_bytes(plan.out.parent),
            "scratch": scratch_bytes(plan, engines, n_bytes),
            "scratch_folder": tempfile.gettempdir(),
            "scratch_free": free_bytes(Path(tempfile.gettempdir())),
        },
    }


def words(foreseen: Mapping[str, Any]) -> Iterator[str]:
    """Yields the lines of ``--dry-run`` for what ``foresee`` returned."""
    found = foreseen
    kind = "bundle" if found["format"] == "bundle" else "Triton model"
    exists = f"{'replace' if found['replaces'] else 'write'} the {kind}"
    origin = found["run"] or "the module of --module"
    yield f"would {exists} {found['out']} from {origin} (method {found['method']})"
    spec, race, gate = found["input"], found["race"], found["gate"]
    yield f"input: {spec['n_frames']} frames of {spec['width']}x{spec['height']}"
    for candidate in found["candidates"]:
        role = "may ship" if candidate["may_ship"] else "peer only"
        yield f"candidate {candidate['backend']} {candidate['precision']}: {candidate['refused'] or role}"
    ladder = ", ".join(map(str, race["batches"]))
    yield f"race: {race['rounds']} alternating rounds at batch {ladder}"
    yield f"gate: {gate['n_windows']} real windows in {gate['n_runs']} runs, {gate['labels'] or 'no labels, so no AUC'}"
    yield f"calibration: {found['calibration']['n_frames']} frames of {found['calibration']['source']}"
    taken, disk = found["time"], found["disk"]
    yield (
        f"time: about {_duration(taken['estimate_s'])}, an estimate: one eager call took {taken['eager_ms']:.3g} ms here, and other engines "
        "are taken to be as much faster as on an EPYC with AVX-512 at 256 px; finding the layers that int8 must leave out is not in it"
    )
    yield (
        f"disk: about {_megabytes(disk['bytes'])} for the {kind}, {_megabytes(disk['free'])} free; about {_megabytes(disk['scratch'])} in "
        f"{disk['scratch_folder']} meanwhile, {_megabytes(disk['scratch_free'])} free"
    )


def estimate_s(plan: Plan, engines: Sequence[tuple[Backend, Precision]], eager_s: float) -> float:
    """Returns about how many seconds the run takes with those of ``engines`` that run here, if eager float32 takes ``eager_s`` a window.

    Counted are export and builds, 8 bits without a search for layers, the race, the gate's windows that are not in it, and calibration
    by the fastest that may ship.
    """
    n_windows = sum(run.n for run in plan.runs)
    fastest = _fastest(plan, engines)
    in_8_bits = [_ratio(*pair) for pair in engines if pair[1].startswith("int8")]
    total = _EXPORT_S + n_windows * eager_s  # the truth of the gate
    if in_8_bits:
        total += (N_RANGES + n_windows * min(in_8_bits)) * eager_s
    for backend, precision in engines:
        ratio = _ratio(backend, precision)
        retires = RETIRING * (1 + (backend.name == "eager")) if ratio > FAR * fastest else math.inf
        n_raced = N_WARM_UP + min(plan.options.rounds, retires)
        judged_on = 0 if backend.name == "eager" else n_windows
        for batch in plan.options.batches:
            total += _BUILD_S.get(backend.name, _OTHER_BUILD_S)
            total += n_raced * (eager_s * ratio * batch + _TURN_S)
            share = judged_on / EVERY if precision == "fp32" else judged_on
            total += max(share - n_raced * batch, 0) * eager_s * ratio
    return total + plan.n_normal_frames * eager_s * fastest


def _fastest(plan: Plan, engines: Sequence[tuple[Backend, Precision]]) -> float:
    """What the fastest of ``engines`` that may ship takes of eager's time."""
    able = [_ratio(*pair) for pair in engines if pair[0].name in plan.options.ship]
    return min(able, default=1.0)


def _ratio(backend: Backend, precision: Precision) -> float:
    return _OF_EAGER.get((backend.name, precision), 1.0)


def _eager_s(plan: Plan) -> float:
    """The median of a second's calls, one after the first at least."""
    spec = plan.model.input
    engine = EagerEngine(plan.model.scorer, spec)
    window = np.zeros((1, spec.n_pictures, spec.height, spec.width, 3), np.uint8)
    engine(window)  # which allocates
    taken: list[float] = []
    while sum(taken) < _MEASURE_S:
        start = time.perf_counter()
        engine(window)
        taken.append(time.perf_counter() - start)
    return median(taken)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _megabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:.0f} MB" if n_bytes >= 1e7 else f"{n_bytes / 1e6:.1f} MB"
