"""What an engine has said about the gate's windows: by place, so that nothing is asked twice.

The race asks some windows, the search for layers in 8 bits all, the gate what is left: at 256 px every answer that is kept saves a
tenth of a second to half a second.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from vadfast.compile.windows import Run
from vadfast.errors import BackendError, first_line
from vadfast.progress import Steps
from vadfast.runtime.engine import Engine, Outputs, run_windows

Place = tuple[int, int]  # a run, and a window of it


@dataclass(frozen=True, slots=True)
class Scored:
    """An engine's answer to some runs."""

    components: list[npt.NDArray[np.float32]]  # per run [n, K]
    heatmaps: list[npt.NDArray[np.float32]]  # per run [n, h, w]


@dataclass(slots=True)
class Answers:
    """The outputs of one engine, by window."""

    _said: dict[Place, Outputs] = field(default_factory=dict)

    def take(self, places: Sequence[Place], outputs: Outputs) -> None:
        """Keeps ``outputs`` of a call as what was said about ``places``; what a batch was filled up with lies behind them."""
        for k, place in enumerate(places):
            self._said[place] = Outputs(outputs.components[k : k + 1], outputs.heatmap[k : k + 1])

    def missing(self, runs: Sequence[Run], which: Sequence[int]) -> list[Place]:
        """Returns the windows of the runs ``which`` that nothing is known about."""
        return [(r, i) for r in which for i in range(len(runs[r])) if (r, i) not in self._said]

    def scored(self, runs: Sequence[Run], which: Sequence[int]) -> Scored:
        """Returns what was said about the runs ``which``, none of whose windows may be missing."""
        said = [[self._said[r, i] for i in range(len(runs[r]))] for r in which]
        return Scored(
            [np.concatenate([outputs.components for outputs in run]) for run in said],
            [np.concatenate([outputs.heatmap for outputs in run]) for run in said],
        )


class FailuresNamed:
    """Within, what an engine's library raises when it runs is a BackendError; libraries' errors share no base but Exception."""

    def __enter__(self) -> None:
        """Costs nothing."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Names what was raised."""
        if isinstance(error, Exception) and not isinstance(error, BackendError):
            raise BackendError(f"failed when it ran: {first_line(error)}") from error


def score_runs(
    engine: Engine,
    runs: Sequence[Run],
    steps: Steps,
    answers: Answers | None = None,
    which: Sequence[int] | None = None,
) -> Scored:
    """Returns what ``engine`` says about the runs ``which``, all by default; ``steps`` advances once a window that it is asked about.

    ``answers`` are those it gave before; they are not asked again, and grow by the others.

    Raises:
        BackendError: the engine failed when it ran.
    """
    answers = Answers() if answers is None else answers
    which = range(len(runs)) if which is None else which
    missing = answers.missing(runs, which)
    for first in range(0, len(missing), engine.batch):
        part = missing[first : first + engine.batch]
        with FailuresNamed():
            for outputs in run_windows(engine, [runs[r].window(i)[0] for r, i in part]):
                answers.take(part, outputs)
        steps.advance(len(part))
    return answers.scored(runs, which)
