"""The candidates of one compile run: what they are, which of them ship, and how each is reported."""

import contextlib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from vadfast.cli import talk
from vadfast.compile.answers import Answers
from vadfast.compile.backends import (
    ON_GPU,
    Backend,
    Precision,
    Workshop,
    asked_for,
    pairs_of,
    refusal,
)
from vadfast.compile.backends.inductor import InductorBackend
from vadfast.compile.gate import Verdict, bounds_of
from vadfast.compile.int8 import Int8
from vadfast.compile.plan import Plan
from vadfast.compile.report import Row, quantiles_ms
from vadfast.compile.windows import Run
from vadfast.errors import BackendError
from vadfast.race import Timing, short_ms
from vadfast.runtime.engine import Engine, n_cpus
from vadfast.runtime.manifest import Threads


@dataclass(slots=True)
class Candidate:
    """A backend in one precision on its way through race and gate."""

    backend: Backend
    precision: Precision
    batch: int
    may_ship: bool
    shippable: bool = True  # whether --ship could name it
    engine: Engine | None = None
    reason: str = ""
    timing: Timing | None = None
    verdict: Verdict | None = None
    judged: tuple[int, ...] = ()  # which runs of the gate
    threads: Threads | None = None  # as asked for, or as measured before the race
    said: Answers = field(default_factory=Answers)  # about the gate's windows

    @property
    def median_ms(self) -> float:
        """Of the race, which it must have run."""
        assert self.timing is not None
        return self.timing.median_ms

    def drop(self, reason: str) -> None:
        """Takes it out of the run, for ``reason``: its row has no numbers."""
        if self.engine is not None:
            self.engine.close()
        self.engine = self.timing = self.verdict = None
        self.reason, self.said = reason, Answers()

    @property
    def passed(self) -> bool:
        """Whether the gate let it through."""
        return self.verdict is not None and not self.verdict.faults


def begin_ahead(plan: Plan, workshop: Workshop, stack: ExitStack) -> Workshop:
    """Returns ``workshop`` with what may be compiled beside other work begun: the C++ of Inductor; ``stack`` ends it."""
    begun = {}
    for backend, precision in pairs_of(plan.options.target, plan.options.precision):
        if not isinstance(backend, InductorBackend) or not backend.ahead:
            continue
        if refusal(backend, precision) is None:
            talk.print(f"compiling {backend.name} {precision} beside it, half a minute of one core")
            # What cannot be begun cannot be built, which says why.
            with contextlib.suppress(BackendError):
                packaging = backend.begin(workshop, precision, min(plan.options.batches))
                begun[backend.path(precision)] = stack.enter_context(packaging)
    return replace(workshop, begun=begun)


def make_candidates(plan: Plan, workshop: Workshop, int8: Int8) -> list[Candidate]:
    """Builds every engine that can run here, of each batch of the ladder; the others keep the reason why not."""
    wanted = asked_for(plan.options.precision)
    candidates = []
    for backend, precision in pairs_of(plan.options.target, plan.options.precision):
        may_ship = backend.name in plan.options.ship and precision in wanted
        for batch in plan.options.batches:
            candidate = Candidate(backend, precision, batch, may_ship)
            candidate.threads = _threads(backend, workshop)
            candidate.shippable = plan.run is not None or backend.name not in ("eager", "cuda")
            candidate.reason = _refusal(candidate, plan, int8)
            if not candidate.reason:
                _build(candidate, workshop)
            if int8.judged_by == (backend.name, precision, batch):
                candidate.said = int8.said
            candidates.append(candidate)
    return candidates


def _threads(backend: Backend, workshop: Workshop) -> Threads | None:
    """What the engine is told, which its artefact keeps: the runtime tells it the same where as many CPUs are."""
    if workshop.threads is None or any(backend.name in names for names in ON_GPU.values()):
        return workshop.tuned.get(backend.name)
    return Threads(n=workshop.threads, cpus=n_cpus())


def _refusal(candidate: Candidate, plan: Plan, int8: Int8) -> str:
    backend, precision = candidate.backend, candidate.precision
    if refused := refusal(backend, precision):
        return refused
    if precision.startswith("int8"):
        return int8.refused
    if backend.name.endswith("inductor") and candidate.batch != min(plan.options.batches):
        return "left out: each batch is a compilation of its own, and the smallest has one"
    return ""


def _build(candidate: Candidate, workshop: Workshop) -> None:
    backend, precision, batch = candidate.backend, candidate.precision, candidate.batch
    many = f", batch {batch}" if batch > 1 else ""
    alone = isinstance(backend, InductorBackend) and not backend.ahead
    slow = ", minutes of searching for the fastest kernels" if alone else ""
    talk.print(f"building {backend.name} {precision}{many}{slow}")
    try:
        candidate.engine = backend.build(workshop, precision, batch)
    except BackendError as error:
        candidate.reason = str(error)


def choose(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Everything that may ship and passed, of each batch the fastest first: the runtime takes the first that the machine at hand can run.

    So a bf16 winner is followed by the best fp32 one, for a CPU without bf16, and one library by another where only one of them
    is installed. OpenVINO and ONNX Runtime read the same model.onnx; MNN's file holds the weights once more.
    What is slower than its own backend in float32 would lose digits for nothing, and does not ship.
    """
    passed = (c for c in candidates if c.may_ship and c.passed and not _is_outrun(c, candidates))
    return sorted(passed, key=lambda c: (c.batch, c.median_ms))


def _is_outrun(candidate: Candidate, candidates: Sequence[Candidate]) -> bool:
    """Whether it computes with fewer digits, and its backend in float32 passed and is as fast.

    Another backend that is faster does not count: it may not be installed where the bundle runs.
    """
    return candidate.precision != "fp32" and any(
        c.precision == "fp32"
        and (c.backend.name, c.batch) == (candidate.backend.name, candidate.batch)
        and c.passed
        and c.median_ms <= candidate.median_ms
        for c in candidates
    )


def row_of(candidate: Candidate, shipped: Sequence[Candidate]) -> Row:
    """Returns the candidate's line of the table."""
    row = Row(candidate.backend.name, candidate.precision, candidate.batch, reason=candidate.reason)
    if candidate.timing is None or candidate.verdict is None:
        return row
    timing, verdict, told = candidate.timing, candidate.verdict, candidate.threads
    if verdict.faults:
        reason = "fails the gate: " + "; ".join(verdict.faults)
    elif candidate in shipped:
        place = [c for c in shipped if c.batch == candidate.batch].index(candidate) + 1
        reason = (
            "ships first, the fastest that passed"
            if place == 1
            else f"ships as choice {place}, for where those before it cannot run"
        )
    elif candidate.may_ship:
        # It passed, so it was left out by ``choose``; that float32 engine ships in its place.
        reason = f"slower than {candidate.backend.name} fp32, so it would lose digits for nothing"
    else:
        role = "the reference" if candidate.backend.name == "eager" else "peer"
        torch = ", with torch" if "torch" in candidate.backend.packages else ""
        reason = role
        if candidate.shippable:
            reason += f"; --ship {candidate.backend.name} would add it{torch}"
    return replace(
        row,
        median_ms=timing.median_ms,
        lo_ms=timing.lo_ms,
        hi_ms=timing.hi_ms,
        max_score_error=verdict.max_score_error,
        delta_auc=verdict.worst_delta_auc,
        shipped=candidate in shipped,
        reason=reason,
        n_rounds=len(timing.round_ms),
        threads=told.n if told else None,
        pinned=told.pinned if told else None,
        **quantiles_ms(timing.round_ms),
    )


def slower_than_eager(
    candidates: Sequence[Candidate], shipped: Sequence[Candidate]
) -> tuple[str, ...]:
    """Returns a sentence for each batch whose fastest engine that ships is slower than eager float32, which all are compared with."""
    said = []
    for eager in (c for c in candidates if c.backend.name == "eager" and c.timing is not None):
        first = next((c for c in shipped if c.batch == eager.batch), None)
        if first is None or first.median_ms <= eager.median_ms:
            continue
        assert first.timing is not None  # what ships has raced
        assert eager.timing is not None
        mine, its = (short_ms(c.median_ms / c.batch) for c in (first, eager))
        chance = "; their 95 % intervals overlap" * (first.timing.lo_ms <= eager.timing.hi_ms)
        said.append(
            f"slower than eager float32: {first.backend.name} {first.precision}, batch {first.batch}, takes {mine} ms a window and eager {its}{chance}"
            + ("; --ship eager ships PyTorch itself" if eager.shippable else "")
        )
    return tuple(said)


def gate_record(
    plan: Plan, runs: Sequence[Run], candidates: Sequence[Candidate], int8: Int8
) -> dict[str, Any]:
    """Returns what the manifest and ``--json`` say about the gate."""
    judged = {c.precision for c in candidates if c.verdict is not None}
    return {
        "n_windows": sum(len(run) for run in runs),
        "n_labelled": sum(len(run) for run in runs if run.labels is not None),
        "labels": plan.labels_words,
        "int8": {"n_layers": int8.n_layers, "kept": list(int8.kept), "refused": int8.refused},
        "bounds": {p: asdict(b) for p, b in plan.bounds.items() if p in judged},
        "candidates": [
            {
                "backend": c.backend.name,
                "precision": c.precision,
                "batch": c.batch,
                "n_windows": sum(len(runs[i]) for i in c.judged),
                "bounds": bounds_of(plan.bounds[c.precision], plan.model.components),
                "score_error": c.verdict.score_error,
                "correlation": c.verdict.correlation,
                "delta_auc": c.verdict.delta_auc,
                "heatmap_error": c.verdict.heatmap_error,
                "alerts": list(c.verdict.alerts),
                "passed": c.passed,
                "faults": list(c.verdict.faults),
            }
            for c in candidates
            if c.verdict is not None
        ],
    }
