"""Training resumes to the bit, stops with a sentence, and leaves whole files."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from vadfast.cli import exit_code_of
from vadfast.data.clips import Batch, ClipSampler
from vadfast.data.store import FrameStore
from vadfast.models.registry import load_run
from vadfast.train.__main__ import command
from vadfast.train.adl import ADLTraining
from vadfast.train.config import RunConfig

SMALL = ["--image-size", "16", "--width", "2", "--batch", "2", "--holdout", "0.2"]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("films")
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (root / name).mkdir()
        for t in range(30):
            image = rng.integers(0, 40, (20, 20, 3), np.uint8)
            image[5:10, t % 15 : t % 15 + 5] = 220
            cv2.imwrite(str(root / name / f"{t}.png"), image)
    return root


def _train(*arguments: object) -> int:
    return exit_code_of(command, name="train", arguments=[str(a) for a in arguments])


@pytest.mark.parametrize("adversarial", ["0", "0.05"])
def test_a_resumed_run_has_the_bits_of_one_that_was_not_stopped(
    films: Path, tmp_path: Path, adversarial: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = [
        "--data",
        films,
        *SMALL,
        "--steps",
        "12",
        "--adversarial",
        adversarial,
        "--seed",
        "3",
    ]
    assert _train("--out", tmp_path / "whole", *options) == 0
    # Ctrl-C after the fifth step: the loop sees it when the step is done.
    original, calls = ADLTraining.step, []

    def step(self: ADLTraining, *arguments: object) -> object:
        calls.append(1)
        if len(calls) == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(ADLTraining, "step", step)
    assert _train("--out", tmp_path / "cut", *options) == 130
    assert len(calls) == 5
    load_run(tmp_path / "cut")  # what Ctrl-C leaves is usable
    assert _train("--out", tmp_path / "cut", "--resume") == 0
    whole, cut = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    assert all(np.array_equal(whole[k].numpy(), cut[k].numpy()) for k in whole)


def test_a_run_with_masks_trains_and_goes_on(films: Path, tmp_path: Path) -> None:
    """What each scope of attention is: test_attention.py."""
    for name in ("a", "b"):
        np.save(tmp_path / f"{name}.npy", np.ones((30, 20, 20), bool))
    masks, out = ["--attention", "mask", "--mask-folder", tmp_path], tmp_path / "run"
    assert _train("--out", out, "--data", films, *SMALL, "--steps", "2", *masks) == 0
    assert RunConfig.load(out / "run.toml").options.attention == "mask"
    assert _train("--out", out, "--resume") == 0


def test_a_loss_that_is_not_finite_stops_with_step_and_losses(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--data", films, *SMALL, "--steps", "200", "--learning-rate", "1e30"]
    assert _train("--out", tmp_path / "run", *arguments) == 1
    message = capsys.readouterr().err
    assert "the losses must be finite, got content" in message
    assert "lower --learning-rate" in message


def test_what_does_not_fit_is_refused_in_a_sentence(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    for arguments, words in (
        (["--out", out], "--data must name normal video"),
        (["--out", out, "--data", tmp_path / "absent"], "no such file or folder"),
        (["--out", out, "--data", films, "--image-size", "20"], "options of adl: image_size"),
        (["--out", out, "--data", films, "--method", "magic"], "--method must be one of adl"),
        (["--out", out, "--resume"], "run.toml: no such file"),
    ):
        assert _train(*arguments) == 2
        assert words in " ".join(capsys.readouterr().err.split())
    assert not (out / "model.safetensors").exists()
    assert _train("--out", out, "--data", films, *SMALL, "--steps", "1") == 0
    assert _train("--out", out, "--data", films) == 2
    assert "holds a run already" in capsys.readouterr().err
    assert _train("--out", out, "--resume", "--steps", "9") == 2
    assert "--resume takes everything but --device from run.toml" in capsys.readouterr().err


def test_damaged_runs_are_said(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from vadfast.errors import UsageError, VadfastError

    out = tmp_path / "run"
    assert _train("--out", out, "--data", films, *SMALL, "--steps", "1") == 0
    checkpoint = (out / "checkpoint.safetensors").read_bytes()
    (out / "checkpoint.safetensors").write_bytes(checkpoint[:100])
    assert _train("--out", out, "--resume") == 1
    assert "must be a checkpoint to resume from" in capsys.readouterr().err
    (out / "model.safetensors").write_bytes(b"x" * 50)
    with pytest.raises(VadfastError, match="does not hold the weights"):
        load_run(out)
    toml = (out / "run.toml").read_text()
    (out / "run.toml").write_text(toml.replace("width = 2", "widht = 2"))
    with pytest.raises(UsageError, match="did you mean 'width'"):
        load_run(out)


def test_batches_follow_from_seed_and_step_and_stay_inside_films() -> None:
    frames = np.arange(30, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    store = FrameStore(frames, np.array([0, 12, 30]))

    def make() -> ClipSampler:
        return ClipSampler(store, [10, 18], n_frames=5, batch=4, seed=1)

    assert len(make().starts) == 6 + 14
    np.testing.assert_array_equal(make().batch(7).frames, make().batch(7).frames)
    sampler = make()
    last = np.concatenate([sampler.batch(step).last for step in range(5)])
    assert sorted(last.tolist()) == [*range(4, 10), *range(16, 30)]  # one epoch: each clip once
    batch = sampler.batch(11)
    for clip, end in zip(batch.frames, batch.last, strict=True):
        assert clip[:, 0, 0, 0].tolist() == list(range(end - 4, end + 1))


def test_ctrl_c_in_a_real_process_ends_with_130(films: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = ["--out", str(out), "--data", str(films), *SMALL, "--steps", "100000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "vadfast.train", *arguments], stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (
        (out / "log.csv").exists() and len((out / "log.csv").read_text().splitlines()) > 2
    ):
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, talk = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"--resume" in talk
    load_run(out)


def _weights_after_one_step(number: int, **options: float) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    size = {"image_size": 16, "width": 2, "adversarial_weight": 0}
    values = {"data": "films", "dataset": "folder", "steps": 9, "options": size | options}
    training = ADLTraining(RunConfig.parse(values, where="test"), None)
    frames = torch.randint(0, 256, (1, 5, 16, 16, 3), dtype=torch.uint8)
    film = np.zeros(1, np.int64)
    training.step(Batch(frames.numpy(), film, film), number)
    return training.network.state_dict()


def test_training_begins_with_the_content_loss_alone() -> None:
    def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
        return all(torch.equal(a[name], b[name]) for name in a)

    for number, warmup, weight in (
        (0, 4, 0.0),
        (1, 4, 0.25),
        (4, 4, 1.0),
        (8, 4, 1.0),
        (0, 0, 1.0),
    ):
        warmed = _weights_after_one_step(number, gradient_warmup=warmup)
        plain = _weights_after_one_step(number, gradient_warmup=0, gradient_weight=weight)
        assert same(warmed, plain), (number, warmup)
    full = _weights_after_one_step(0, gradient_warmup=0)
    assert not same(full, _weights_after_one_step(0, gradient_warmup=4))


def test_a_run_goes_on_with_its_own_checkpoint_only(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own, other = tmp_path / "own", tmp_path / "other"
    short = ["--data", films, "--batch", "2", "--steps", "1", "--image-size", "16"]
    assert _train("--out", own, *short, "--width", "2") == 0
    for options, words in (
        (["--width", "4"], "made with width = 4, and run.toml has 2; restore run.toml"),
        (["--width", "2", "--background", "0.2"], "made with background = 0.2, and run.toml has 0.1"),
        (["--method", "apn", "--width", "8"], "made with method = 'apn', and run.toml has 'adl'"),
    ):  # fmt: skip
        shutil.rmtree(other, ignore_errors=True)
        assert _train("--out", other, *short, *options) == 0
        shutil.copy(other / "checkpoint.safetensors", own)
        assert _train("--out", own, "--resume") == 1
        assert words in " ".join(capsys.readouterr().err.split())


def test_a_run_of_a_gpu_goes_on_where_there_is_none(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    assert _train("--out", out, "--data", films, *SMALL, "--steps", "1") == 0
    toml = (out / "run.toml").read_text()
    (out / "run.toml").write_text(toml.replace('device = "cpu"', 'device = "cuda"'))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert _train("--out", out, "--resume") == 2
    assert "torch finds no GPU here; use --device cpu" in " ".join(capsys.readouterr().err.split())
    assert _train("--out", out, "--resume", "--device", "cpu") == 0
    assert RunConfig.load(out / "run.toml").device == "cpu"


def test_what_would_not_be_read_is_refused(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, masks = tmp_path / "run", ["--mask-folder", tmp_path]
    for arguments, words in (
        (masks, "--mask-folder: is read by --method adl with --attention mask alone"),
        (["--method", "apn", "--image-size", "16", *masks], "--mask-folder: is read by"),
        (["--flow", "lucas-kanade", "--flow-weight", "0"], "--flow: must be none where"),
    ):
        assert _train("--out", out, "--data", films, "--steps", "1", *arguments) == 2
        assert words in " ".join(capsys.readouterr().err.split())
    assert not out.exists()
    # A row of the table without the flow loss stands beside rows that have it, under one command.
    flow = ["--ablation", "l_cl", "--flow", "lucas-kanade"]
    assert _train("--out", out, "--data", films, *SMALL, "--steps", "1", *flow) == 0


def test_what_a_run_begins_with_is_looked_at_before_films_are_decoded(
    films: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other, out = tmp_path / "other", tmp_path / "run"
    assert _train("--out", other, "--data", films, *SMALL, "--steps", "1") == 0
    monkeypatch.setenv("VADFAST_CACHE", str(tmp_path / "cache"))
    for arguments, words in (
        (["--start-from", tmp_path / "typo"], "must be a run directory with run.toml"),
        (["--start-from", other, "--width", "4"], "must have the same network"),
        (["--flow", "no_such.module:flow"], "--flow no_such.module:flow: cannot be imported"),
        (["--flow", "raft"], "--flow must be none, lucas-kanade or package.module:function"),
    ):
        assert _train("--out", out, "--data", films, *SMALL, "--steps", "1", *arguments) == 2
        assert words in " ".join(capsys.readouterr().err.split())
    assert not out.exists()
    assert not (tmp_path / "cache").exists()
