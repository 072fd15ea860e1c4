"""What a candidate says in the race is what it says to the gate, about the same window, at any batch."""

from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import pytest

from tests.compile.tiny import SPEC
from vadfast.compile.answers import Answers, score_runs
from vadfast.compile.candidates import Candidate
from vadfast.compile.judging import sample
from vadfast.compile.racing import places, race_candidates
from vadfast.compile.windows import Run
from vadfast.errors import BackendError
from vadfast.progress import steps
from vadfast.runtime.engine import Outputs


def _runs(lengths: list[int]) -> list[Run]:
    """The first half labelled, the rest normal video."""
    rng = np.random.default_rng(0)
    return [
        Run(
            f"v{k}",
            0,
            rng.integers(0, 256, (n + SPEC.n_frames - 1, SPEC.height, SPEC.width, 3), np.uint8),
            np.zeros(n, np.uint8) if k < len(lengths) // 2 else None,
            SPEC.n_frames,
        )
        for k, n in enumerate(lengths)
    ]


class _Mean:
    """Says the mean of each window, and remembers how many it was asked about."""

    precision = "fp32"

    def __init__(self, backend: str, batch: int) -> None:
        self.backend, self.batch, self.n_calls = backend, batch, 0

    def __call__(self, frames: npt.NDArray[np.uint8]) -> Outputs:
        assert len(frames) == self.batch
        self.n_calls += 1
        means = frames.mean(axis=(1, 2, 3, 4)).astype(np.float32)[:, None]
        return Outputs(means, means[:, :, None].repeat(2, axis=1))

    def close(self) -> None:
        pass


def _candidates(engines: list[_Mean]) -> list[Candidate]:
    return [
        Candidate(SimpleNamespace(name=e.backend), "fp32", e.batch, True, engine=e)  # type: ignore[arg-type]
        for e in engines
    ]


def test_windows_that_all_are_judged_on_come_first_and_runs_take_turns() -> None:
    runs = _runs([3, 2, 3, 1])
    assert sample(runs) == (0, 2)
    first = [(0, 0), (2, 0), (0, 1), (2, 1), (0, 2), (2, 2)]
    assert places(runs) == [*first, (1, 0), (3, 0), (1, 1)]


@pytest.mark.parametrize("batch", [1, 4])
def test_the_gate_asks_about_what_the_race_has_not_seen(batch: int) -> None:
    runs = _runs([5, 4, 5, 3])
    engines = [_Mean("eager", batch), _Mean("mnn", batch)]
    running = _candidates(engines)
    race_candidates(running, runs, rounds=3)
    assert all(c.timing is not None for c in running)
    everything = range(len(runs))
    left = running[1].said.missing(runs, everything)
    asked_before = engines[1].n_calls
    with steps("gate", None) as bar:
        got = score_runs(engines[1], runs, bar, running[1].said)
        wanted = score_runs(_Mean("fresh", 1), runs, bar)
    assert engines[1].n_calls - asked_before == -(-len(left) // batch)
    for mine, theirs in zip(got.components + got.heatmaps, wanted.components + wanted.heatmaps, strict=True):  # fmt: skip
        np.testing.assert_allclose(mine, theirs, rtol=1e-6)


def test_answers_to_a_batch_that_was_filled_up_are_those_to_its_windows() -> None:
    answers, runs = Answers(), _runs([3])
    means = np.arange(4, dtype=np.float32)[:, None]
    answers.take([(0, 2), (0, 0)], Outputs(means, means[:, :, None]))
    assert answers.missing(runs, [0]) == [(0, 1)]
    answers.take([(0, 1)], Outputs(means[3:], means[3:, :, None]))
    assert answers.scored(runs, [0]).components[0].ravel().tolist() == [1, 3, 0]


class _Fails(_Mean):
    """Answers ``n`` calls, then its library raises what libraries raise."""

    def __init__(self, backend: str, n: int) -> None:
        super().__init__(backend, 1)
        self.n = n

    def __call__(self, frames: npt.NDArray[np.uint8]) -> Outputs:
        if self.n_calls == self.n:
            raise MemoryError("bad allocation\nat some line")
        return super().__call__(frames)


@pytest.mark.parametrize("n", [0, 1, 4])
def test_who_fails_leaves_the_race_with_the_reason_and_the_others_race(n: int) -> None:
    runs = _runs([5, 4])
    running = _candidates([_Mean("eager", 1), _Fails("mnn", n), _Mean("openvino", 1)])
    race_candidates(running, runs, rounds=4)
    eager, mnn, openvino = running
    assert mnn.reason == "failed when it ran: bad allocation"
    assert mnn.engine is None
    assert mnn.timing is None
    assert len(mnn.said.missing(runs, [0, 1])) == 9
    assert [len(c.timing.round_ms) for c in (eager, openvino) if c.timing is not None] == [4, 4]


def test_there_is_no_race_without_what_all_are_compared_with() -> None:
    with pytest.raises(BackendError, match="failed when it ran: bad allocation"):
        race_candidates(_candidates([_Fails("eager", 2), _Mean("mnn", 1)]), _runs([5, 4]), rounds=4)
