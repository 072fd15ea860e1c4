"""The candidates of one compile run: what they are, which of them ship, and how each is reported."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from vadfast.cli import talk
from vadfast.compile.backends import (
    PRECISIONS,
    Backend,
    Precision,
    Workshop,
    all_backends,
    refusal,
)
from vadfast.compile.gate import Verdict, bounds_of
from vadfast.compile.plan import Plan
from vadfast.compile.race import Timing
from vadfast.compile.report import Row
from vadfast.compile.windows import Run
from vadfast.errors import BackendError
from vadfast.runtime.engine import Engine

# One camera's frames come one by one; a ladder of batches belongs to the many-camera service.
BATCH = 1


@dataclass(slots=True)
class Candidate:
    """A backend in one precision on its way through race and gate."""

    backend: Backend
    precision: Precision
    may_ship: bool
    engine: Engine | None = None
    reason: str = ""
    timing: Timing | None = None
    verdict: Verdict | None = None

    @property
    def median_ms(self) -> float:
        """Of the race, which it must have run."""
        assert self.timing is not None
        return self.timing.median_ms

    @property
    def passed(self) -> bool:
        """Whether the gate let it through."""
        return self.verdict is not None and not self.verdict.faults


def make_candidates(plan: Plan, workshop: Workshop) -> list[Candidate]:
    """Builds every engine that can run here; the others keep the reason why not."""
    wanted = PRECISIONS if plan.options.precision == "auto" else (plan.options.precision,)
    candidates = []
    for backend in all_backends():
        for precision in backend.precisions:
            # Eager runs always: it is what all others are compared with.
            if precision not in wanted and backend.name != "eager":
                continue
            candidate = Candidate(
                backend, precision, backend.name in plan.options.ship and precision in wanted
            )
            candidate.reason = refusal(backend, precision) or ""
            if not candidate.reason:
                slow = ", a minute of C++ compilation" if backend.name == "inductor" else ""
                talk.print(f"building {backend.name} {precision}{slow}")
                try:
                    candidate.engine = backend.build(workshop, precision, BATCH)
                except BackendError as error:
                    candidate.reason = str(error)
            candidates.append(candidate)
    return candidates


def choose(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Everything that may ship and passed, fastest first: the runtime takes the first that the machine at hand can run.

    So a bf16 winner is followed by the best fp32 one, for a CPU without bf16, and one library by another where only one of them
    is installed. OpenVINO and ONNX Runtime read the same model.onnx; MNN's file holds the weights once more.
    """
    return sorted((c for c in candidates if c.may_ship and c.passed), key=lambda c: c.median_ms)


def row_of(candidate: Candidate, shipped: Sequence[Candidate]) -> Row:
    """Returns the candidate's line of the table."""
    row = Row(candidate.backend.name, candidate.precision, BATCH, reason=candidate.reason)
    if candidate.timing is None or candidate.verdict is None:
        return row
    timing, verdict = candidate.timing, candidate.verdict
    if verdict.faults:
        reason = "fails the gate: " + "; ".join(verdict.faults)
    elif candidate in shipped:
        place = shipped.index(candidate) + 1
        reason = (
            "ships first, the fastest that passed"
            if place == 1
            else f"ships as choice {place}, for where those before it cannot run"
        )
    else:
        role = "the reference" if candidate.backend.name == "eager" else "peer"
        torch = ", with torch" if "torch" in candidate.backend.packages else ""
        reason = f"{role}; --ship {candidate.backend.name} would add it{torch}"
    return replace(
        row,
        median_ms=timing.median_ms,
        lo_ms=timing.lo_ms,
        hi_ms=timing.hi_ms,
        max_score_error=verdict.max_score_error,
        delta_auc=verdict.worst_delta_auc,
        shipped=candidate in shipped,
        reason=reason,
    )


def gate_record(plan: Plan, runs: Sequence[Run], candidates: Sequence[Candidate]) -> dict[str, Any]:
    """Returns what the manifest and ``--json`` say about the gate."""
    return {
        "n_windows": sum(len(run) for run in runs),
        "n_labelled": sum(len(run) for run in runs if run.labels is not None),
        "labels": plan.labels_words,
        "candidates": [
            {
                "backend": c.backend.name,
                "precision": c.precision,
                "bounds": bounds_of(c.precision, plan.model.components),
                "score_error": c.verdict.score_error,
                "correlation": c.verdict.correlation,
                "delta_auc": c.verdict.delta_auc,
                "heatmap_error": c.verdict.heatmap_error,
                "passed": c.passed,
                "faults": list(c.verdict.faults),
            }
            for c in candidates
            if c.verdict is not None
        ],
    }
