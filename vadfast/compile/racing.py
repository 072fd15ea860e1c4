"""The race of a compile run: who takes turns with whom, on which windows, and that what they say there is not asked again.

An answer costs as much in the race as in the gate. So the race goes over the gate's own windows, those first that all are judged on,
and every answer is kept for it.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from vadfast.compile.answers import Place
from vadfast.compile.candidates import Candidate
from vadfast.compile.judging import sample
from vadfast.compile.windows import Run
from vadfast.progress import steps
from vadfast.race import alternate


def race_candidates(running: Sequence[Candidate], runs: Sequence[Run], rounds: int) -> None:
    """Gives each of ``running`` its timing, and what it said about the windows that it was raced on."""
    order = places(runs)
    with steps("race", len(running) * (rounds + 1)) as bar:
        # A batch is raced among its own: what takes turns does the same work.
        for batch in sorted({c.batch for c in running}):
            group = [c for c in running if c.batch == batch]
            calls = [
                [order[(first + k) % len(order)] for k in range(batch)]
                for first in range(0, len(order), batch)
            ]
            frames = [np.concatenate([runs[r].window(i) for r, i in call]) for call in calls]
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
        said.take(calls[number], engine(frames[number]))

    return call
