"""Every candidate through the gate: on all windows what computes with fewer digits or ships first, on a third of them the rest.

An engine in float32 differs from eager by the order of its sums, in every window alike; a third of the windows shows that as well as
all do, in a third of the time. What is lossy is off by more in some windows than in others, and is judged on all.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from vadfast.compile.candidates import Candidate, choose
from vadfast.compile.evidence import Evidence
from vadfast.compile.gate import Scorecard, Scored, judge, score_runs
from vadfast.compile.int8 import Int8
from vadfast.compile.windows import Run
from vadfast.progress import Steps, steps

EVERY = 3  # of the runs: one of so many is judged on


@dataclass(frozen=True, slots=True)
class _Gate:
    """What all candidates are judged on; ``which`` names runs by their places."""

    runs: Sequence[Run]
    truth: Scored
    card: Scorecard
    evidence: Evidence

    def score(self, candidate: Candidate, which: tuple[int, ...], bar: Steps) -> Scored:
        assert candidate.engine is not None
        return score_runs(candidate.engine, [self.runs[i] for i in which], bar)

    def judge(self, candidate: Candidate, which: tuple[int, ...], scored: Scored) -> None:
        """Gives ``candidate`` its verdict by what it said about the runs ``which``."""
        truth = self.truth
        wanted = Scored([truth.components[i] for i in which], [truth.heatmaps[i] for i in which])
        runs = [self.runs[i] for i in which]
        candidate.verdict = judge(scored, wanted, runs, self.card, candidate.precision)
        candidate.judged = which
        assert candidate.engine is not None
        assert candidate.timing is not None  # it has raced
        self.evidence.add(candidate.engine, candidate.timing, scored, which)


def judge_all(
    candidates: Sequence[Candidate],
    eager: Candidate,
    runs: Sequence[Run],
    truth: Scored,
    int8: Int8,
    card: Scorecard,
    evidence: Evidence,
) -> list[Candidate]:
    """Gives every one of ``candidates`` its verdict, and returns those that ship, the first of them judged on all windows.

    ``truth`` is what ``eager`` said about ``runs``; the candidate that ``int8`` was made with has been scored on them already.
    """
    everything, some = tuple(range(len(runs))), sample(runs)
    gate = _Gate(runs, truth, card, evidence)
    assert eager.engine is not None
    evidence.begin(runs, truth, eager.engine, card.components)
    plan = [
        (c, everything if c.precision != "fp32" else some) for c in candidates if c is not eager
    ]
    n_windows = sum(len(runs[i]) for c, which in plan if not _is(c, int8) for i in which)
    with steps("gate", n_windows) as bar:
        gate.judge(eager, everything, truth)
        for candidate, which in plan:
            known = int8.scored if _is(candidate, int8) else None
            gate.judge(candidate, which, known or gate.score(candidate, which, bar))
        # What ships first calibrates and is drawn; where nothing ships, the fastest that might have.
        while (first := _first(candidates)) is not None and first.judged != everything:
            bar.expect(sum(map(len, runs)))
            gate.judge(first, everything, gate.score(first, everything, bar))
    return choose(candidates)


def _first(candidates: Sequence[Candidate]) -> Candidate | None:
    able = [c for c in candidates if c.may_ship]
    fastest = sorted(able, key=lambda c: (c.batch, c.median_ms))
    return next(iter(choose(candidates) or fastest), None)


def sample(runs: Sequence[Run]) -> tuple[int, ...]:
    """Returns which of ``runs`` stand for all: every third of the labelled ones, and of the others."""
    labelled = [i for i, run in enumerate(runs) if run.labels is not None]
    others = [i for i, run in enumerate(runs) if run.labels is None]
    return tuple(sorted(labelled[::EVERY] + others[::EVERY]))


def _is(candidate: Candidate, int8: Int8) -> bool:
    return int8.scored is not None and int8.judged_by == (
        candidate.backend.name,
        candidate.precision,
        candidate.batch,
    )
