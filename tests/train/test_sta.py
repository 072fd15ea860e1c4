"""STA from a folder of features to the table: trained, resumed, evaluated, and refused in a sentence."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.data.made_features import N_FEATURES, write_listed, write_packed
from tests.train.test_train import _train
from vadfast.cli import exit_code_of
from vadfast.data.bags import load_features
from vadfast.errors import UsageError
from vadfast.evaluate.__main__ import command as evaluate_command
from vadfast.train.bags import open_bags
from vadfast.train.config import RunConfig
from vadfast.train.sta import STATraining

SMALL = ["--method", "sta", "--set", "n_segments=8", "--set", "hidden=4", "--batch", 8]


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("features")
    write_packed(root)
    return root


def _evaluate(*arguments: object) -> int:
    return exit_code_of(evaluate_command, name="evaluate", arguments=[str(a) for a in arguments])


@pytest.mark.parametrize("head", ["rnn", "fc"])
def test_a_resumed_run_has_the_bits_of_one_that_was_not_stopped(
    features: Path, tmp_path: Path, head: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the fully connected head too, whose dropout draws numbers."""
    options = ["--data", features, *SMALL, "--set", f"head={head}", "--steps", 6, "--seed", 3]
    assert _train("--out", tmp_path / "whole", *options) == 0
    original, calls = STATraining.step, []

    def step(self: STATraining, *arguments: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(STATraining, "step", step)
    assert _train("--out", tmp_path / "cut", *options) == 130
    assert _train("--out", tmp_path / "cut", "--resume") == 0
    whole, cut = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    assert all(np.array_equal(whole[k].numpy(), cut[k].numpy()) for k in whole)
    # The width is the data's, and is in the run.
    assert RunConfig.load(tmp_path / "whole" / "run.toml").options.n_features == N_FEATURES


def test_what_is_learned_finds_films_and_frames(features: Path, tmp_path: Path) -> None:
    run, report = tmp_path / "run", tmp_path / "report.json"
    options = ["--data", features, *SMALL, "--steps", 60, "--learning-rate", 0.01]
    assert _train("--out", run, *options, "--set", "mce=off") == 0
    last = (run / "log.csv").read_text().splitlines()[-1]
    assert "held_out_auc=1" in last
    assert _evaluate(run, "--data", features, "--json", report) == 0
    document = json.loads(report.read_text())
    assert document["auc"]["video"] == 1
    assert document["auc"]["micro_raw"] > 0.8
    assert document["n_scores"] == 24 * 100
    assert document["n_abnormal"] == 12 * 13
    assert len(document["videos"]) == 24
    film = document["videos"][-1]
    assert film["label"] == 1
    assert film["score"] == max(film["segment_scores"])
    assert len(film["segment_scores"]) == 8
    assert _evaluate(run, run, "--data", features, "--json", report) == 0
    assert json.loads(report.read_text())["deviation"]["video"] == 0


def test_films_without_frames_have_a_video_auc_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_listed(tmp_path / "data")
    run, report = tmp_path / "run", tmp_path / "report.json"
    data = ["--data", tmp_path / "data"]
    assert _train("--out", run, *data, *SMALL, "--steps", 2, "--batch", 2) == 0
    assert _evaluate(run, *data, "--json", report) == 0
    assert set(json.loads(report.read_text())["auc"]) == {
        "video",
        "micro_raw",
        "micro_raw_abnormal",
    }
    (tmp_path / "data" / "Temporal_Anomaly_Annotation_for_Testing_Videos.txt").unlink()
    assert _evaluate(run, *data, "--json", report) == 0
    assert set(json.loads(report.read_text())["auc"]) == {"video"}
    assert "no AUC over all frames" in " ".join(capsys.readouterr().out.split())


def test_an_inactive_margin_is_said_once(
    features: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _train("--out", tmp_path / "a", "--data", features, *SMALL, "--steps", 12) == 0
    talk = " ".join(capsys.readouterr().err.split())
    assert talk.count("mutual cosine embedding has no gradient") == 1
    assert "active=0 " in (tmp_path / "a" / "log.csv").read_text().splitlines()[-1] + " "
    centred = [*SMALL, "--set", "centred=true", "--steps", 2]
    assert _train("--out", tmp_path / "b", "--data", features, *centred) == 0
    assert "no gradient" not in capsys.readouterr().err


def _config(root: Path, **values: object) -> RunConfig:
    options = {"n_features": N_FEATURES, "n_segments": 8}
    wanted = {
        "method": "sta",
        "data": str(root),
        "dataset": "features",
        "batch": 8,
        "options": options,
    }
    return RunConfig.parse(wanted | values, where="test")


def test_batches_follow_from_seed_and_step_and_never_draw_a_film_twice(features: Path) -> None:
    bags = open_bags(_config(features, holdout=0.25), load_features(features))
    assert [len(b) for b in (*bags.trained, *bags.held_out)] == [9, 9, 3, 3]
    first, again = next(bags.batches(5, 6)), next(bags.batches(5, 6))
    assert torch.equal(first.abnormal, again.abnormal)
    assert first.normal.shape == (4, 8, N_FEATURES)
    # Nine steps of four are four epochs of nine films.
    drawn = torch.cat([batch.normal for batch in bags.batches(0, 9)])
    _, counts = drawn.flatten(1).unique(dim=0, return_counts=True)
    assert counts.tolist() == [4] * 9
    # Held-out films are others under another seed, and in no batch.
    other = open_bags(_config(features, holdout=0.25, seed=1), load_features(features))
    assert not torch.equal(other.held_out[0], bags.held_out[0])
    held = {tuple(b.flatten().tolist()) for b in bags.held_out[0]}
    assert not held & {tuple(b.flatten().tolist()) for b in bags.trained[0]}


def test_data_of_one_kind_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((4, N_FEATURES)))
    (tmp_path / "train_normal.txt").write_text("a\n")
    with pytest.raises(UsageError, match="must have abnormal training films, has 0"):
        open_bags(_config(tmp_path), load_features(tmp_path))


def test_what_does_not_fit_is_refused_in_a_sentence(
    features: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    for arguments, words in (
        (["--batch", 7], "must be even"),
        (["--set", "n_features=9"], "must have features of 9 numbers"),
        (["--dataset", "ped2"], "--dataset must be auto, features or ucf-crime for sta"),
        (["--image-size", 64], "options of sta: unknown key 'image_size'"),
        (["--ablation", "none"], "--ablation must be a row of sta's tables"),
    ):
        assert _train("--out", run, "--data", features, *SMALL, "--steps", 1, *arguments) in (1, 2)
        assert words in " ".join(capsys.readouterr().err.split())
    assert not run.exists()
    assert _train("--out", run, "--data", features, *SMALL, "--steps", 1) == 0
    capsys.readouterr()
    for call, words in (
        (lambda: _evaluate(run, "--data", features, "--plots", tmp_path), "leave out --plots"),
        (lambda: _evaluate(run, "--data", tmp_path), "must hold index.json"),
    ):
        assert call() == 2
        assert words in " ".join(capsys.readouterr().err.split())
    write_packed(tmp_path / "narrow", n=2, n_segments=8)
    np.save(tmp_path / "narrow" / "test_normal.npy", np.ones((2, 8, 5), np.float16))
    assert _evaluate(run, "--data", tmp_path / "narrow") == 1
    assert "must have features of 12 numbers like the model, has 5" in " ".join(
        capsys.readouterr().err.split()
    )


def test_held_out_scores_that_are_not_finite_stop_the_run_in_a_sentence(
    features: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a step that sent the weights to infinity, its own losses are finite still."""
    monkeypatch.setattr("vadfast.train.sta.HELD_OUT_EVERY", 1)
    options = ["--learning-rate", "1e30", "--set", "mce=off", "--steps", 3]
    out = tmp_path / "run"
    assert _train("--out", out, "--data", features, *SMALL, *options) == 1
    talk = " ".join(capsys.readouterr().err.split())
    assert "step 1: the losses must be finite" in talk
    assert "held_out_auc nan" in talk


def test_the_scale_of_features_can_be_learned(features: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    options = [*SMALL, "--set", "scale=4.0", "--set", "learn_scale=true", "--steps", 3]
    assert _train("--out", out, "--data", features, *options, "--learning-rate", 0.1) == 0
    learned = float(load_file(out / "model.safetensors")["segments.scale"])
    assert 0.01 < abs(learned - 4) < 1
    assert _evaluate(out, "--data", features) == 0
