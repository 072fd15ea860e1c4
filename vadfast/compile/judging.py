"""Every candidate through the gate: on all windows what computes with fewer digits or ships first, on a third of them the rest.

An engine in float32 differs from eager by the order of its sums, in every window alike; a third of the windows shows that as well as
all do, in a third of the time. What is lossy is off by more in some windows than in others, and is judged on all.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from vadfast.compile.answers import Answers, Scored, score_runs
from vadfast.compile.candidates import Candidate, choose
from vadfast.compile.evidence import Evidence
from vadfast.compile.gate import Scorecard, judge
from vadfast.compile.windows import Run
from vadfast.errors import BackendError
from vadfast.progress import Steps, steps

EVERY = 3  # of the runs: one of so many is judged on


@dataclass(frozen=True, slots=True)
class _Gate:
    """What all candidates are judged on; ``which`` names runs by their places."""

    runs: Sequence[Run]
    truth: Scored
    card: Scorecard
    evidence: Evidence

    def ask(self, candidate: Candidate, which: tuple[int, ...], bar: Steps) -> None:
        """Gives ``candidate`` its verdict on the runs ``which``; it is dropped if it fails there."""
        assert candidate.engine is not None
        try:
            scored = score_runs(candidate.engine, self.runs, bar, candidate.said, which)
        except BackendError as error:
            candidate.drop(str(error))
        else:
            self.judge(candidate, which, scored)

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
        if len(which) == len(self.runs):
            candidate.said = Answers()  # heat maps of all windows are large


def judge_all(
    candidates: Sequence[Candidate],
    eager: Candidate,
    runs: Sequence[Run],
    truth: Scored,
    card: Scorecard,
    evidence: Evidence,
) -> list[Candidate]:
    """Gives every one of ``candidates`` its verdict, and returns those that ship, the first of them judged on all windows.

    ``truth`` is what ``eager`` said about ``runs``.
    """
    everything, some = tuple(range(len(runs))), sample(runs)
    gate = _Gate(runs, truth, card, evidence)
    assert eager.engine is not None
    evidence.begin(runs, truth, eager.engine, card.components)
    plan = [
        (c, everything if c.precision != "fp32" else some) for c in candidates if c is not eager
    ]
    n_missing = sum(len(c.said.missing(runs, which)) for c, which in plan)
    with steps("gate", n_missing) as bar:
        gate.judge(eager, everything, truth)
        for candidate, which in plan:
            gate.ask(candidate, which, bar)
        # What ships first calibrates and is drawn; where nothing ships, the fastest that might have.
        while (first := _first(candidates)) is not None and first.judged != everything:
            bar.expect(len(first.said.missing(runs, everything)))
            gate.ask(first, everything, bar)
    return choose(candidates)


def _first(candidates: Sequence[Candidate]) -> Candidate | None:
    able = [c for c in candidates if c.may_ship and c.engine is not None]
    fastest = sorted(able, key=lambda c: (c.batch, c.median_ms))
    return next(iter(choose(candidates) or fastest), None)


def sample(runs: Sequence[Run]) -> tuple[int, ...]:
    """Returns which of ``runs`` stand for all: every third of the labelled ones, and of the others."""
    labelled = [i for i, run in enumerate(runs) if run.labels is not None]
    others = [i for i, run in enumerate(runs) if run.labels is None]
    return tuple(sorted(labelled[::EVERY] + others[::EVERY]))
