"""The compile run from end to end: plan, export, race, gate, calibrate, seal.

Everything is decided on this machine's own numbers: what ships is what passed the gate, the fastest
first. Nothing appears under ``--out`` before all of it is done.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vadfast.cli import talk
from vadfast.compile.backends import Workshop, versions
from vadfast.compile.bundle import (
    GOLDEN,
    MINIMUM_RUNTIME,
    GoldenWindows,
    check_target,
    choose_golden,
    write_bundle,
)
from vadfast.compile.calibrate import FEW_FRAMES, calibrate, score_normal
from vadfast.compile.candidates import (
    BATCH,
    Candidate,
    choose,
    gate_record,
    make_candidates,
    row_of,
)
from vadfast.compile.export import export_onnx
from vadfast.compile.gate import Scorecard, Scored, bounds_of, judge, score_runs
from vadfast.compile.plan import Options, Plan, plan_build
from vadfast.compile.race import load_average, race
from vadfast.compile.report import Report, Row, race_table
from vadfast.compile.signing import open_key
from vadfast.compile.teachers import carry
from vadfast.compile.windows import Run, read_run
from vadfast.errors import GateError, SourceError
from vadfast.models.eager import EagerEngine
from vadfast.progress import steps
from vadfast.runtime.manifest import (
    FORMAT_VERSION,
    AlertRule,
    Artefact,
    Calibration,
    InputSpec,
    Manifest,
)
from vadfast.runtime.signature import fingerprint

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

__all__ = ["Options", "build_bundle", "plan_build"]


def build_bundle(run: Path, out: Path, options: Options | None = None) -> Report:
    """Compiles the training run ``run`` into the bundle ``out`` and returns the report.

    Raises:
        UsageError: the run, the data or ``out`` is not usable, or there is too little normal video.
        BuildError: the model cannot be exported.
        GateError: no candidate that may ship keeps the scores; nothing is written.
    """
    plan = plan_build(run, out, options or Options())
    check_target(out)
    # Before the minutes of work: a component whose unit has no bound cannot be gated.
    bounds_of("fp32", plan.model.components)
    with tempfile.TemporaryDirectory(prefix="vadfast-compile-") as scratch:
        return _build(plan, Path(scratch))


def _build(plan: Plan, folder: Path) -> Report:
    model = plan.model
    runs = _read_runs(plan)
    talk.print(f"exporting {model.method} ({_size_words(plan)}) to ONNX")
    heatmap = export_onnx(model.scorer, model.input, folder / "model.onnx")
    workshop = Workshop(model.scorer, model.input, plan.run, folder, plan.options.threads)
    candidates = make_candidates(plan, workshop)
    try:
        return _decide(plan, folder, runs, heatmap, candidates)
    finally:
        for candidate in candidates:
            if candidate.engine is not None:
                candidate.engine.close()


def _decide(
    plan: Plan,
    folder: Path,
    runs: Sequence[Run],
    heatmap: tuple[int, int],
    candidates: Sequence[Candidate],
) -> Report:
    """Races and gates the candidates, calibrates with the winner, and writes the bundle."""
    model, options = plan.model, plan.options
    running = [c for c in candidates if c.engine is not None]
    eager = next(c for c in running if c.backend.name == "eager")

    load = load_average()
    _race(running, runs, options.rounds)
    load_after = load_average()
    truth = _gate(
        running, eager, runs, Scorecard(model.components, model.paper_chain, model.causal_chain)
    )
    shipped = choose(candidates)
    rows = tuple(row_of(c, shipped) for c in candidates)
    gate = gate_record(plan, runs, candidates)
    if not shipped:
        talk.print(race_table(rows, eager.median_ms, load=(load, load_after)))
        failed = Report(
            bundle=None,
            eager_ms=eager.median_ms,
            race=rows,
            gate=gate,
            load=load,
            load_after=load_after,
        )
        raise GateError(
            f"--ship: one of {', '.join(options.ship)} must keep the scores of eager float32, none does "
            f"({'; '.join(f'{r.backend} {r.precision}: {r.reason}' for r in rows if r.backend in options.ship)}); "
            "nothing was written; try --precision fp32 or --ship eager",
            failed.to_json(),
        )

    calibration, alert = _calibrate(plan, shipped[0])
    golden = choose_golden(runs, truth.components, median_ms=shipped[0].median_ms)
    spec, networks = carry(model.input, folder)
    manifest = _manifest(plan, spec, heatmap, calibration, alert, shipped, gate, rows)
    key = open_key(plan.options.sign)
    sealed = _write(plan, manifest, folder, shipped, golden, networks, key)
    return Report(
        bundle=plan.out,
        eager_ms=eager.median_ms,
        race=rows,
        gate=gate,
        load=load,
        load_after=load_after,
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


def _race(running: Sequence[Candidate], runs: Sequence[Run], rounds: int) -> None:
    windows = [run.window(len(run) // 2) for run in runs]
    engines = [c.engine for c in running if c.engine is not None]
    with steps("race", len(engines) * (rounds + 1)) as bar:
        timings = race(engines, windows, rounds=rounds, steps=bar)
    for candidate, timing in zip(running, timings, strict=True):
        candidate.timing = timing


def _gate(
    running: Sequence[Candidate], eager: Candidate, runs: Sequence[Run], card: Scorecard
) -> Scored:
    n_windows = sum(len(run) for run in runs)
    with steps("gate", n_windows * len(running)) as bar:
        assert isinstance(eager.engine, EagerEngine)
        truth = score_runs(eager.engine, runs, bar)
        for candidate in running:
            assert candidate.engine is not None
            scored = truth if candidate is eager else score_runs(candidate.engine, runs, bar)
            candidate.verdict = judge(scored, truth, runs, card, candidate.precision)
    return truth


def _calibrate(plan: Plan, winner: Candidate) -> tuple[Calibration, AlertRule]:
    assert winner.engine is not None
    model = plan.model
    with steps("calibration", plan.n_normal_frames) as bar:
        parts = score_normal(winner.engine, model.input, plan.normal, bar)
    calibration, alert = calibrate(
        parts, model.components, model.causal_chain, source=plan.normal_words
    )
    if calibration.n_frames < FEW_FRAMES:
        talk.print(
            f"calibration: only {calibration.n_frames} frames of normal video, so the alert threshold is rough; "
            f"give {FEW_FRAMES} or more by --calibrate DIR"
        )
    return calibration, alert


def _manifest(
    plan: Plan,
    spec: InputSpec,
    heatmap: tuple[int, int],
    calibration: Calibration,
    alert: AlertRule,
    shipped: Sequence[Candidate],
    gate: dict[str, Any],
    rows: Sequence[Row],
) -> Manifest:
    from vadfast import __version__

    model = plan.model
    return Manifest(
        format_version=FORMAT_VERSION,
        minimum_runtime=MINIMUM_RUNTIME,
        vadfast_version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        method=model.method,
        checkpoint_sha256=model.checkpoint_sha256,
        input=spec,
        components=model.components,
        heatmap=heatmap,
        paper_chain=model.paper_chain,
        causal_chain=model.causal_chain,
        calibration=calibration,
        alert=alert,
        artefacts=tuple(
            Artefact(
                backend=c.backend.name,
                precision=c.precision,
                batch=BATCH,
                path=c.backend.path,
                versions=versions(c.backend),
                needs=("bf16",) if c.precision == "bf16" else (),
                median_ms=c.median_ms,
                tolerance=bounds_of(c.precision, model.components),
            )
            for c in shipped
        ),
        golden=GOLDEN,
        gate=gate,
        race=tuple(asdict(row) for row in rows),
        files={},
    )


def _write(
    plan: Plan,
    manifest: Manifest,
    folder: Path,
    shipped: Sequence[Candidate],
    golden: GoldenWindows,
    networks: Sequence[str],
    key: "Ed25519PrivateKey",
) -> Manifest:
    # An artefact may be a file with neighbours (eager: weights and configuration).
    files = ["model.onnx", *networks]
    for candidate in shipped:
        path = Path(candidate.backend.path)
        if path.parent != Path():
            files += sorted(
                p.relative_to(folder).as_posix() for p in (folder / path).parent.iterdir()
            )
    talk.print(f"writing {plan.out}", markup=False)
    return write_bundle(
        plan.out,
        manifest,
        folder=folder,
        files=files,
        golden=golden,
        key=key,
    )


def _size_words(plan: Plan) -> str:
    n_parameters = sum(p.numel() for p in plan.model.scorer.parameters())
    spec = plan.model.input
    return f"{n_parameters / 1e6:.2f} M parameters, {spec.n_frames} frames of {spec.width}x{spec.height}"
