"""Fixtures of the compile tests: one tiny scorer and four short runs of windows."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.compile.tiny import CARD, SPEC, FilmSource, TinyScorer, film, planned
from vadfast.compile.backends import Backend, Precision, refusal
from vadfast.compile.windows import Run, read_run
from vadfast.data.datasets import Dataset, Video
from vadfast.train.config import RunConfig


@pytest.fixture(scope="session")
def scorer() -> TinyScorer:
    """Random weights, always the same."""
    torch.manual_seed(0)
    return TinyScorer().eval()


@pytest.fixture(scope="session")
def runs() -> list[Run]:
    """Two labelled runs and two normal ones."""
    labels = np.repeat(np.array([0, 1, 0], np.uint8), 8)
    plans = [planned(24, seed=s, labels=labels) for s in (1, 2)] + [
        planned(20, seed=s) for s in (3, 4)
    ]
    read = [read_run(plan, SPEC) for plan in plans]
    assert all(read)
    return [run for run in read if run is not None]


@pytest.fixture
def run(tmp_path: Path, scorer: TinyScorer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run directory whose model is the tiny scorer and whose data are films in memory."""
    labels = np.repeat(np.array([0, 1, 0], np.uint8), 20)
    train = tuple(
        Video(
            name=f"train {i}",
            source=FilmSource(f"train {i}", film(200, seed=i)),
            labels=None,
            masks=None,
        )
        for i in range(2)
    )
    test = (
        Video(
            name="test",
            source=FilmSource("test", film(60, seed=9, labels=labels)),
            labels=labels,
            masks=None,
        ),
    )
    dataset = Dataset(kind="folder", root=tmp_path, train=train, test=test, label_source="made")
    model = SimpleNamespace(
        method="tiny",
        scorer=scorer,
        input=SPEC,
        components=CARD.components,
        paper_chain=CARD.paper_chain,
        causal_chain=CARD.causal_chain,
        checkpoint_sha256="0" * 64,
        data=SimpleNamespace(root=tmp_path, kind="folder", holdout=0.4),
    )
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"stands in")
    values = {"data": str(tmp_path / "films"), "dataset": "folder"}
    RunConfig.parse(values, where="test").save(folder / "run.toml")
    monkeypatch.setattr("vadfast.models.registry.load_run", lambda _: model)
    monkeypatch.setattr("vadfast.compile.footage.load_dataset", lambda *_: dataset)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder


@pytest.fixture
def no_inductor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spares the seconds of C++ compilation where it is not the point."""

    def refused(backend: Backend, precision: Precision) -> str | None:
        return (
            "cannot be built here: no C++ compiler"
            if backend.name == "inductor"
            else refusal(backend, precision)
        )

    monkeypatch.setattr("vadfast.compile.candidates.refusal", refused)
