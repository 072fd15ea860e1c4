"""The compile run from end to end: plan, export, race, gate, calibrate, seal.

Everything is decided on this machine's own numbers: what ships is what passed the gate, the fastest
first. Nothing appears under ``--out`` before all of it is done.
"""

import contextlib
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vadfast.cli import talk
from vadfast.compile.alerts import judge_labelled
from vadfast.compile.answers import Scored, score_runs
from vadfast.compile.backends import (
    Workshop,
    asked_for,
    backends_of,
    refusal,
)
from vadfast.compile.bundle import choose_golden
from vadfast.compile.calibrate import FEW_FRAMES, calibrate, score_normal
from vadfast.compile.candidates import (
    Candidate,
    begin_ahead,
    gate_record,
    make_candidates,
    row_of,
    slower_than_eager,
)
from vadfast.compile.evidence import Evidence
from vadfast.compile.export import export_onnx
from vadfast.compile.false_alarms import parse_rate
from vadfast.compile.int8 import Int8, make_int8
from vadfast.compile.judging import judge_all
from vadfast.compile.plan import Options, Plan, plan_build
from vadfast.compile.racing import race_candidates
from vadfast.compile.report import Report, named_ties, note_load, race_table
from vadfast.compile.sealing import make_manifest, write_sealed
from vadfast.compile.signing import open_key
from vadfast.compile.teachers import carry
from vadfast.compile.threads import tune
from vadfast.compile.windows import Run, read_run
from vadfast.errors import BackendError, GateError, SourceError
from vadfast.models.eager import EagerEngine
from vadfast.progress import steps
from vadfast.race import load_average
from vadfast.runtime.manifest import (
    AlertRule,
    Calibration,
    Threads,
)
from vadfast.runtime.signature import fingerprint

if TYPE_CHECKING:
    from vadfast.compile.module import ModuleSpec
    from vadfast.models.registry import TrainedModel

# By how fast they are in 8 bits; the first that runs here judges which layers stay in float.
_INT8_ORDER = ("tensorrt", "openvino", "onnxruntime")

__all__ = ["Options", "build_bundle", "plan_build"]


def build_bundle(
    source: "Path | ModuleSpec",
    out: Path,
    options: Options | None = None,
    evidence: Evidence | None = None,
) -> Report:
    """Compiles a training run, or the network of a ``ModuleSpec``, into the bundle ``out`` and returns the report.

    ``evidence`` is filled while it goes, with what a report draws.

    Raises:
        UsageError: the source, the data or ``out`` is not usable, or there is too little normal video.
        BuildError: the model cannot be exported.
        GateError: no candidate that may ship keeps the scores; nothing is written.
    """
    plan = plan_build(source, out, options or Options())
    with tempfile.TemporaryDirectory(prefix="vadfast-compile-") as scratch:
        return _build(plan, Path(scratch), evidence or Evidence())


def _build(plan: Plan, folder: Path, evidence: Evidence) -> Report:
    model = plan.model
    runs = _read_runs(plan)
    with ExitStack() as stack:
        talk.print(f"exporting {model.method} ({_size_words(plan)}) to ONNX")
        workshop = Workshop(model.scorer, model.input, plan.run, folder, plan.options.threads)
        workshop = begin_ahead(plan, workshop, stack)
        heatmap = export_onnx(model.scorer, model.input, folder / "model.onnx")
        truth = _score_eager(model, runs)
        _wait(workshop)
        workshop = replace(workshop, tuned=_tuned(plan, workshop, runs))
        int8 = _in_8_bits(plan, workshop, runs, truth)
        candidates = make_candidates(plan, workshop, int8)
    try:
        return _decide(plan, folder, runs, truth, heatmap, candidates, int8, evidence)
    finally:
        for candidate in candidates:
            if candidate.engine is not None:
                candidate.engine.close()


def _decide(
    plan: Plan,
    folder: Path,
    runs: Sequence[Run],
    truth: Scored,
    heatmap: tuple[int, int],
    candidates: Sequence[Candidate],
    int8: Int8,
    evidence: Evidence,
) -> Report:
    """Races and gates the candidates, calibrates with the winner, and writes the bundle."""
    model, options = plan.model, plan.options
    running = [c for c in candidates if c.engine is not None]
    eager = next(c for c in running if c.backend.name == "eager")

    load = load_average()
    note_load(options.rounds, load)
    race_candidates(running, runs, options.rounds)
    load_after = load_average()
    running = [c for c in running if c.engine is not None]
    shipped = judge_all(running, eager, runs, truth, plan.card, evidence)
    rows = named_ties([row_of(c, shipped) for c in candidates])
    gate = gate_record(plan, runs, candidates, int8)
    report = Report(
        bundle=None,
        eager_ms=eager.median_ms,
        race=rows,
        gate=gate,
        load=load,
        load_after=load_after,
        notes=slower_than_eager(candidates, shipped),
    )
    if not shipped:
        talk.print(race_table(rows, load=(load, load_after)))
        raise GateError(
            f"--ship: one of {', '.join(options.ship)} must keep the scores of eager float32, none does "
            f"({'; '.join(f'{r.backend} {r.precision}: {r.reason}' for r in rows if r.backend in options.ship)}); "
            "nothing was written; try --precision fp32 or --ship eager",
            report.to_json(),
        )

    calibration, alert = _calibrate(plan, shipped[0], evidence)
    winner = shipped[0]
    answer = evidence.answers[winner.backend.name, winner.precision, winner.batch]
    spans = judge_labelled(answer.components, evidence.labels, model, calibration, alert)
    gate = gate | {"labelled_spans": asdict(spans)}
    golden = choose_golden(runs, truth.components, median_ms=shipped[0].median_ms)
    spec, networks = carry(model.input, folder)
    manifest = make_manifest(
        plan,
        spec=spec,
        heatmap=heatmap,
        calibration=calibration,
        alert=alert,
        shipped=shipped,
        gate=gate,
        rows=rows,
        load=(load, load_after),
    )
    key = open_key(plan.options.sign)
    sealed = write_sealed(plan, manifest, folder, shipped, golden, networks, key)
    return replace(
        report,
        bundle=plan.out,
        gate=gate,
        calibration=calibration.model_dump(),
        alert=alert.model_dump(),
        size=sum(record.size for record in sealed.files.values()),
        signer=fingerprint(key.public_key()),
    )


def _read_runs(plan: Plan) -> list[Run]:
    runs = [
        run for planned in plan.runs if (run := read_run(planned, plan.model.input)) is not None
    ]
    if not any(run.labels is None for run in runs):
        raise SourceError(
            f"--calibrate: {plan.normal_words} must give windows of {plan.model.input.n_frames} frames, got none; "
            "give a folder of longer normal video"
        )
    return runs


def _tuned(plan: Plan, workshop: Workshop, runs: Sequence[Run]) -> dict[str, Threads]:
    if plan.options.threads is not None:
        return {}
    backends = [b for b in backends_of(plan.options.target) if b.name in plan.options.ship]
    return tune(workshop, backends, [run.window(len(run) // 2) for run in runs])


def _score_eager(model: "TrainedModel", runs: Sequence[Run]) -> Scored:
    engine = EagerEngine(model.scorer, model.input)
    with steps("eager float32", sum(len(run) for run in runs)) as bar:
        return score_runs(engine, runs, bar)


def _wait(workshop: Workshop) -> None:
    """What is timed next wants the machine to itself."""
    for path, packaging in workshop.begun.items():
        if packaging.running:
            talk.print(f"waiting for {path}")
            with contextlib.suppress(BackendError):  # its build will say so
                packaging.finish()


def _in_8_bits(plan: Plan, workshop: Workshop, runs: Sequence[Run], truth: Scored) -> Int8:
    """Makes the model in 8 bits for the best engine that may ship it and can run it here, in the fastest form that it has."""
    if not any(p.startswith("int8") for p in asked_for(plan.options.precision)):
        return Int8(0, (), "not asked for")
    here = {backend.name: backend for backend in backends_of(plan.options.target)}
    for backend in (here[name] for name in _INT8_ORDER if name in here):
        for precision in reversed(backend.precisions):
            if (
                precision.startswith("int8")
                and precision in asked_for(plan.options.precision)
                and backend.name in plan.options.ship
                and refusal(backend, precision) is None
            ):
                return make_int8(workshop, backend, precision, runs, truth, plan.card)
    return Int8(0, (), "no engine that may ship runs it here")


def _calibrate(plan: Plan, winner: Candidate, evidence: Evidence) -> tuple[Calibration, AlertRule]:
    assert winner.engine is not None
    model = plan.model
    with steps("calibration", plan.n_normal_frames) as bar:
        parts = score_normal(winner.engine, model.input, plan.normal, bar)
    asked = plan.options.false_alarms
    calibration, alert = calibrate(
        parts,
        model.components,
        model.causal_chain,
        source=plan.normal_words,
        fps=plan.fps,
        false_alarms_per_day=None if asked is None else parse_rate(asked),
    )
    evidence.add_normal(parts, model.components, model.causal_chain, calibration)
    if calibration.n_frames < FEW_FRAMES:
        talk.print(
            f"calibration: only {calibration.n_frames} frames of normal video, so the alert threshold is rough; "
            f"give {FEW_FRAMES} or more by --calibrate DIR"
        )
    return calibration, alert


def _size_words(plan: Plan) -> str:
    n_parameters = sum(p.numel() for p in plan.model.scorer.parameters())
    spec = plan.model.input
    return f"{n_parameters / 1e6:.2f} M parameters, {spec.n_frames} frames of {spec.width}x{spec.height}"
