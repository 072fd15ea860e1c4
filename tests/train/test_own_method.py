"""docs/your-own-method.md: its example goes the way of the five methods, and a module that cannot is told why."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.train.test_train import _train
from vadfast.cli import exit_code_of
from vadfast.compile.build import Options, build_bundle
from vadfast.data import synthetic
from vadfast.evaluate.__main__ import command as evaluate
from vadfast.methods import model_module
from vadfast.models.registry import load_run
from vadfast.runtime.bundle import open_bundle
from vadfast.runtime.score import run_chain

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
SMALL = ["--method", "next_frame", "--set", "image_size=32", "--set", "width=8", "--batch", 2]


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(EXAMPLES)
    synthetic.write_dataset(tmp_path / "scene", n_training=1, n_testing=1, n_frames=140)
    return tmp_path / "scene"


def test_the_example_has_60_lines() -> None:
    lines = (EXAMPLES / "next_frame.py").read_text().splitlines()
    assert len([line for line in lines if line.strip()]) <= 60


@pytest.mark.e2e
def test_the_example_is_trained_evaluated_compiled_and_scored(
    scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, bundle, lines = tmp_path / "run", tmp_path / "own.vad", tmp_path / "scores.jsonl"
    assert _train("--data", scene, "--out", run, *SMALL, "--steps", 40, "--holdout", 0.4) == 0
    stored = tomllib.loads((run / "run.toml").read_text())
    assert stored["method"] == "next_frame"
    assert stored["options"] == {"image_size": 32, "width": 8}
    assert exit_code_of(evaluate, name="evaluate", arguments=[str(run), "--data", str(scene)]) == 0
    monkeypatch.setattr(
        "vadfast.compile.candidates.refusal",
        lambda b, _: None if b.name in ("eager", "onnxruntime") else "left out",
    )
    build_bundle(run, bundle, Options(rounds=2, gate_windows=8, ship=("onnxruntime",)))
    # Neither the module nor torch is needed any more.
    (film,) = (scene / "testing").glob("*.mp4")
    command = [sys.executable, "-m", "vadfast.score", str(bundle), str(film), "--jsonl", str(lines)]
    subprocess.run(command, check=True, capture_output=True)
    rows = [json.loads(line) for line in lines.read_text().splitlines()]
    found = [row["components"]["psnr"] for row in rows if "score" in row]
    assert len(found) == 136
    manifest = open_bundle(bundle).manifest
    assert manifest.method == "next_frame"
    wanted = run_chain(
        load_run(run).causal_chain, manifest.components, [[v] for v in found], manifest.calibration
    )
    assert [row["score"] for row in rows if "score" in row] == pytest.approx(
        list(wanted), abs=1e-5
    )  # components are written rounded


def test_a_resumed_run_goes_on_with_the_module(scene: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert _train("--data", scene, "--out", run, *SMALL, "--steps", 3) == 0
    assert _train("--out", run, "--resume") == 0


def test_a_module_that_cannot_be_one_is_told_why(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "half_a_method.py").write_text("N_FRAMES = 5\n")
    (tmp_path / "needs_more.py").write_text("import a_package_that_is_not_there\n")
    out = tmp_path / "run"
    for name, words in (
        ("nextframe", "--method must be one of adl, apn, mtl, std, sta, or a module of yours"),
        ("next_frame.inner", "or a module of yours that can be imported"),
        ("..", "or a module of yours that can be imported"),
        ("half_a_method", "must have Options, N_FRAMES, ABLATIONS, Network"),
    ):
        assert _train("--data", scene, "--out", out, "--method", name) == 2
        assert words in " ".join(capsys.readouterr().err.split())
    assert "lacks Options, ABLATIONS" in _said_of("half_a_method", scene, out, capsys)
    # What it fails to import itself is not a wrong name.
    with pytest.raises(ModuleNotFoundError, match="a_package_that_is_not_there"):
        model_module("needs_more")
    assert not out.exists()


def _said_of(name: str, scene: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> str:
    _train("--data", scene, "--out", out, "--method", name)
    return " ".join(capsys.readouterr().err.split())
