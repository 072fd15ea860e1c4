"""A ladder of batches: each is raced among its own, gated window by window, ships, and is opened by its number."""

from pathlib import Path

import numpy as np
import pytest

from tests.compile.tiny import CARD, SPEC, TinyScorer
from vadfast.compile import build_bundle
from vadfast.compile.answers import score_runs
from vadfast.compile.gate import judge
from vadfast.compile.plan import Options, parse_ladder
from vadfast.compile.report import race_table
from vadfast.compile.windows import Run
from vadfast.errors import BackendError, UsageError
from vadfast.models.eager import EagerEngine
from vadfast.progress import steps
from vadfast.runtime.bundle import open_bundle
from vadfast.runtime.engine import open_engine


@pytest.mark.parametrize("batch", [2, 5, 64])
def test_batches_score_every_window_as_one_by_one(
    scorer: TinyScorer, runs: list[Run], batch: int
) -> None:
    with steps("gate", 80) as bar:
        one, many = (score_runs(EagerEngine(scorer, SPEC, batch=b), runs, bar) for b in (1, batch))
    assert [c.shape for c in many.components] == [c.shape for c in one.components]
    assert judge(many, one, runs, CARD, "fp32").faults == ()
    assert not np.array_equal(one.components[0][0], one.components[0][-1])


def test_an_engine_of_each_batch_ships_and_is_opened_by_its_number(
    run: Path, tmp_path: Path
) -> None:
    options = Options(rounds=3, gate_windows=48, ship=("onnxruntime",), precision="fp32", batches=(1, 4))  # fmt: skip
    report = build_bundle(run, tmp_path / "a.vad", options)
    bundle = open_bundle(tmp_path / "a.vad")
    assert [a.batch for a in bundle.manifest.artefacts] == [1, 4]
    assert open_engine(bundle).batch == 1
    assert open_engine(bundle, batch=4).batch == 4
    with pytest.raises(BackendError, match=r"batch: must be one that a.vad ships \(1, 4\), got 3"):
        open_engine(bundle, batch=3)
    raced = {(row.backend, row.batch) for row in report.race if row.median_ms is not None}
    assert {("eager", 1), ("eager", 4), ("onnxruntime", 1), ("onnxruntime", 4)} <= raced
    assert [row.reason for row in report.race if row.shipped] == [
        "ships first, the fastest that passed"
    ] * 2
    assert report.eager_ms == next(
        row.median_ms for row in report.race if (row.backend, row.batch) == ("eager", 1)
    )
    assert len(race_table(report.race, load=(0.0, 0.0)).renderables) == 2


@pytest.mark.parametrize("words", ["", "0", "1,x", "-2", "1,4096", "1.5"])
def test_a_ladder_that_is_none_is_refused(words: str) -> None:
    with pytest.raises(UsageError, match="--batch: must be numbers from 1 to 1024"):
        parse_ladder(words)


def test_the_default_is_one_camera() -> None:
    assert Options().batches == parse_ladder("1") == (1,)
