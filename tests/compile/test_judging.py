"""Who is judged on which windows, who is judged again, and what is not asked twice."""

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import pytest

from tests.compile.tiny import CARD, SPEC
from vadfast.compile.answers import Scored
from vadfast.compile.candidates import Candidate
from vadfast.compile.evidence import Evidence
from vadfast.compile.judging import judge_all, sample
from vadfast.compile.windows import Run
from vadfast.race import summarise
from vadfast.runtime.engine import Outputs


def _runs(labels: str) -> list[Run]:
    """A run of four windows each: of normal video (n) or labelled (l)."""
    rng = np.random.default_rng(0)
    shape = (4 + SPEC.n_frames - 1, SPEC.height, SPEC.width, 3)
    marks = np.array([0, 0, 1, 1], np.uint8)
    return [
        Run(f"v{i}", 0, rng.integers(0, 256, shape, np.uint8), marks if of == "l" else None, SPEC.n_frames)
        for i, of in enumerate(labels)
    ]  # fmt: skip


def _score(window: npt.NDArray[np.uint8]) -> float:
    return float(window.mean())


@dataclass
class _Engine:
    """Says the mean of a window, off by ``off`` where it is asked about a window that ``spoils`` names."""

    backend: str
    precision: str
    off: float = 0.0
    spoils: Callable[[npt.NDArray[np.uint8]], bool] = lambda _: True
    batch: int = 1
    n_calls: int = 0

    def __call__(self, frames: npt.NDArray[np.uint8]) -> Outputs:
        self.n_calls += 1
        score = _score(frames) + self.off * self.spoils(frames)
        return Outputs(np.full((1, 1), score, np.float32), np.ones((1, 2, 2), np.float32))

    def close(self) -> None:
        pass


@dataclass
class _Field:
    """Candidates beside eager, and the gate's answer."""

    runs: list[Run]
    candidates: list[Candidate] = field(default_factory=list)
    evidence: Evidence = field(default_factory=Evidence)

    def add(self, engine: _Engine, ms: float, *, may_ship: bool = True) -> _Engine:
        backend = SimpleNamespace(name=engine.backend, packages=())
        candidate = Candidate(backend, engine.precision, 1, may_ship, engine=engine)  # type: ignore[arg-type]
        candidate.timing = summarise([ms] * 3)
        self.candidates.append(candidate)
        return engine

    def judged(self) -> list[str]:
        truth = Scored(
            [np.array([[_score(w)] for w in r.windows()], np.float32) for r in self.runs],
            [np.ones((len(r), 2, 2), np.float32) for r in self.runs],
        )
        self.add(_Engine("eager", "fp32"), 100, may_ship=False)
        shipped = judge_all(
            self.candidates, self.candidates[-1], self.runs, truth, CARD, self.evidence
        )
        return [f"{c.backend.name} {c.precision}" for c in shipped]


@pytest.mark.parametrize(
    ("labels", "which"),
    [("llln", (0, 3)), ("llllnnnn", (0, 3, 4, 7)), ("nn", (0,)), ("l", (0,)), ("nl", (0, 1))],
)
def test_the_sample_has_both_kinds(labels: str, which: tuple[int, ...]) -> None:
    assert sample(_runs(labels)) == which


def test_float32_is_judged_on_a_third() -> None:
    of = _Field(_runs("lllnnn"))
    fast, slow = of.add(_Engine("mnn", "fp32"), 5), of.add(_Engine("openvino", "fp32"), 7)
    peer = of.add(_Engine("inductor", "fp32"), 3, may_ship=False)
    lossy = of.add(_Engine("openvino", "bf16"), 4)
    assert of.judged() == ["openvino bf16", "mnn fp32", "openvino fp32"]
    assert [e.n_calls for e in (fast, slow, peer, lossy)] == [8, 8, 8, 24]
    whole = {
        name[0] + " " + name[1] for name, answer in of.evidence.answers.items() if answer.whole
    }
    assert whole == {"openvino bf16", "eager fp32"}


def test_what_ships_first_is_judged_on_all_before_it_does() -> None:
    of = _Field(_runs("lllnnn"))
    hidden = of.runs[1].window(0)  # in no third

    def is_hidden(window: npt.NDArray[np.uint8]) -> bool:
        return bool(np.array_equal(window, hidden))

    first = of.add(_Engine("mnn", "fp32", off=1.0), 5)
    second = of.add(_Engine("openvino", "fp32", off=1.0, spoils=is_hidden), 7)
    third = of.add(_Engine("onnxruntime", "fp32"), 9)
    assert of.judged() == ["onnxruntime fp32"]
    assert [e.n_calls for e in (first, second, third)] == [8, 24, 24]


def test_where_nobody_passes_the_fastest_is_there_to_be_drawn() -> None:
    of = _Field(_runs("lllnnn"))
    slow = of.add(_Engine("openvino", "fp32", off=np.nan), 7)
    fast = of.add(_Engine("mnn", "fp32", off=1.0), 5)
    assert of.judged() == []
    assert (slow.n_calls, fast.n_calls) == (8, 24)
    assert of.evidence.answers["mnn", "fp32", 1].whole


def test_who_fails_in_the_gate_is_dropped_with_the_reason() -> None:
    class Failing(_Engine):
        def __call__(self, frames: npt.NDArray[np.uint8]) -> Outputs:
            if self.n_calls == 10:  # after the sample
                raise RuntimeError("out of memory")
            return super().__call__(frames)

    of = _Field(_runs("lllnnn"))
    of.add(Failing("mnn", "fp32"), 5)
    of.add(_Engine("openvino", "fp32"), 7)
    assert of.judged() == ["openvino fp32"]
    assert of.candidates[0].reason == "failed when it ran: out of memory"
    assert of.candidates[0].engine is None


def test_what_was_said_before_is_not_asked_again() -> None:
    runs = _runs("ln")
    of = _Field(runs)
    known, half = of.add(_Engine("openvino", "int8"), 2), of.add(_Engine("onnxruntime", "int8"), 3)
    for r, run in enumerate(runs):
        for i in range(len(run)):
            said = Outputs(
                np.array([[_score(run.window(i)) + 0.1]], np.float32),
                np.ones((1, 2, 2), np.float32),
            )
            of.candidates[0].said.take([(r, i)], said)
            if i % 2:
                of.candidates[1].said.take([(r, i)], said)
    assert of.judged() == ["openvino int8", "onnxruntime int8"]
    assert (known.n_calls, half.n_calls) == (0, 4)
    for candidate in of.candidates[:2]:
        assert candidate.verdict is not None
        assert candidate.verdict.score_error["psnr"] == pytest.approx(0.1, rel=1e-3)
