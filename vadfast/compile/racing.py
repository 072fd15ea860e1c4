"""The race of a compile run: who takes turns with whom, on which windows, and that what they say there is not asked again.

An answer costs as much in the race as in the gate. So the race goes over the gate's own windows, those first that all are judged on,
and every answer is kept for it.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from vadfast.compile.answers import FailuresNamed, Place
from vadfast.compile.candidates import Candidate
from vadfast.compile.judging import sample
from vadfast.compile.windows import Run
from vadfast.errors import BackendError
from vadfast.progress import steps
from vadfast.race import alternate


class _Failed(Exception):
    """A candidate was called and did not answer."""

    def __init__(self, candidate: Candidate, error: BackendError) -> None:
        super().__init__(str(error))
        self.candidate, self.error = candidate, error


def race_candidates(running: Sequence[Candidate], runs: Sequence[Run], rounds: int) -> None:
    """Gives each of ``running`` its timing, and what it said about the windows that it was raced on.

    Whoever fails when it runs loses its engine, has the reason, and the others race again.

    Raises:
        BackendError: eager, which all are compared with, failed.
    """
    order = places(runs)
    # A batch is raced among its own: what takes turns does the same work.
    for batch in sorted({c.batch for c in running}):
        group = [c for c in running if c.batch == batch]
        calls = [
            [order[(first + k) % len(order)] for k in range(batch)]
            for first in range(0, len(order), batch)
        ]
        frames = [np.concatenate([runs[r].window(i) for r, i in call]) for call in calls]
        while True:
            try:
                _race(group, calls, frames, rounds)
                break
            except _Failed as failed:
                if failed.candidate.backend.name == "eager":
                    raise failed.error from failed
                failed.candidate.drop(str(failed.error))
                group.remove(failed.candidate)


def _race(
    group: Sequence[Candidate],
    calls: Sequence[Sequence[Place]],
    frames: Sequence[npt.NDArray[np.uint8]],
    rounds: int,
) -> None:
    with steps("race", len(group) * (rounds + 1)) as bar:
        timings = alternate(
            [_caller(c, calls, frames) for c in group],
            rounds=rounds,
            steps=bar,
            reference=next(i for i, c in enumerate(group) if c.backend.name == "eager"),
        )
    for candidate, timing in zip(group, timings, strict=True):
        candidate.timing = timing


def places(runs: Sequence[Run]) -> list[Place]:
    """Returns every window: those of the sample before the others, and of each the runs in turns, because a race may end early."""
    some = sample(runs)
    others = [r for r in range(len(runs)) if r not in some]
    return [
        (r, i)
        for part in (some, others)
        for i in range(max((len(runs[r]) for r in part), default=0))
        for r in part
        if i < len(runs[r])
    ]


def _caller(
    candidate: Candidate, calls: Sequence[Sequence[Place]], frames: Sequence[npt.NDArray[np.uint8]]
) -> Callable[[int], None]:
    engine, said = candidate.engine, candidate.said
    assert engine is not None

    def call(turn: int) -> None:
        number = turn % len(calls)
        try:
            with FailuresNamed():
                outputs = engine(frames[number])
        except BackendError as error:
            raise _Failed(candidate, error) from error
        said.take(calls[number], outputs)

    return call
