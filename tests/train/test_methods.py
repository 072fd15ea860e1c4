"""What every method's training must do: the same run resumed to the bit, losses that fall, a run that evaluates like any other."""

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.train.test_train import _train
from vadfast.data import synthetic
from vadfast.data.clips import Batch
from vadfast.errors import TrainingError, UsageError
from vadfast.methods import training_module
from vadfast.models import adl, apn
from vadfast.models.prediction import signed_clip
from vadfast.models.registry import load_run
from vadfast.train.config import RunConfig

SMALL = {
    "apn": ["--method", "apn", "--image-size", 16, "--width", 8, "--set", "n_prototypes=3"],
    "std": ["--method", "std", "--image-size", 128, "--set", "neck=2", "--set", "n_clusters=4"],
}


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "a.mp4"
    synthetic.write_film(path, synthetic.film(1, 24))
    return path


@pytest.mark.parametrize("method", SMALL)
def test_a_resumed_run_has_the_bits_of_one_that_was_not_stopped(
    film: Path, tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped before, and in STD's case resumed before, k-means."""
    options = ["--data", film, *SMALL[method], "--steps", 9, "--batch", 2, "--seed", 3]
    assert _train("--out", tmp_path / "whole", *options) == 0
    calls = _stop_after(2, method, monkeypatch)
    assert _train("--out", tmp_path / "cut", *options) == 130
    assert len(calls) == 2
    assert _train("--out", tmp_path / "cut", "--resume") == 0
    whole, cut = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    assert whole.keys() == cut.keys()
    assert all(np.array_equal(whole[k].numpy(), cut[k].numpy()) for k in whole)
    model = load_run(tmp_path / "whole")
    assert model.method == method
    assert set(model.paper_chain.weights) == {c.name for c in model.components}


@pytest.mark.parametrize(
    ("method", "loss", "steps"), [("apn", "frame", 100), ("std", "appearance", 20)]
)
def test_the_prediction_becomes_better(
    film: Path, tmp_path: Path, method: str, loss: str, steps: int
) -> None:
    out = tmp_path / "run"
    options = ["--data", film, *SMALL[method], "--steps", steps, "--batch", 2]
    assert _train("--out", out, *options, "--learning-rate", 3e-3) == 0
    rows = (out / "log.csv").read_text().splitlines()[1:]
    values = [float(row.split(f"{loss}=")[1].split()[0]) for row in rows]
    assert values[-1] < 0.6 * values[0]


def test_prototypes_alone_adapt_to_a_new_scene(
    film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, adapted = tmp_path / "first", tmp_path / "adapted"
    assert _train("--out", first, "--data", film, *SMALL["apn"], "--steps", 4, "--batch", 2) == 0
    few = ["--start-from", first, "--set", "trained=prototypes", "--holdout", 0.6, "--steps", 3]
    assert _train("--out", adapted, "--data", film, *SMALL["apn"], *few) == 0
    before, after = (load_file(run / "model.safetensors") for run in (first, adapted))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"unit.score.weight"}
    for options, words in (
        ([*SMALL["apn"], "--width", 16], "must have the same network"),
        (SMALL["std"], "must be a run of method std, it is one of apn"),
    ):
        assert (
            _train("--out", tmp_path / "no", "--data", film, *options, "--start-from", first) == 2
        )
        assert words in " ".join(capsys.readouterr().err.split())


def test_centres_come_from_the_codes(film: Path, tmp_path: Path) -> None:
    """k-means puts them where codes are: nearer, on average, than centres at random."""
    from vadfast.data.datasets import load_dataset

    values = {
        "method": "std",
        "data": str(film),
        "dataset": "folder",
        "batch": 2,
        "steps": 6,
        "options": {"image_size": 128, "neck": 2, "n_clusters": 4},
    }
    config = RunConfig.parse(values, where="test")
    torch.manual_seed(0)
    training, clips = training_module("std").open_training(config, load_dataset(film, "folder"))
    batches = list(clips.batches(0, 3))
    distances = []
    for number, batch in enumerate(batches):
        losses = training.step(batch, number)
        distances.append(float(losses.get("cluster", torch.tensor(torch.nan))))
    assert np.isnan(distances[:2]).all(), "the first third has no clusters"
    random = training.network.clusters.centres.detach().clone()
    torch.manual_seed(1)
    training.network.clusters.centres.data = torch.nn.functional.normalize(
        torch.randn_like(random), dim=1
    )
    frames = torch.from_numpy(batches[0].frames)
    codes = training.network.codes(frames.float().permute(0, 1, 4, 2, 3)[:, :4].flatten(1, 2) / 255)
    assert 4 * distances[2] < float(training.network.clusters(codes).mean().detach())
    assert random.shape == (4, 32)


@pytest.mark.parametrize(
    ("row", "streams"),
    [("both", {"appearance", "motion"}), ("appearance", {"appearance"}), ("motion", {"motion"})],
)
def test_std_in_parts_trains(film: Path, tmp_path: Path, row: str, streams: set[str]) -> None:
    """Without variance attention and centres: each stream alone, and both."""
    out = tmp_path / "run"
    options = [*SMALL["std"][:6], "--ablation", row, "--steps", 3, "--batch", 1]
    assert _train("--out", out, "--data", film, *options) == 0
    assert {n.split(".")[0] for n in load_file(out / "model.safetensors")} == streams
    assert not [n for n in load_file(out / "model.safetensors") if "embedding" in n]
    log = (out / "log.csv").read_text()
    assert {n for n in ("appearance", "motion", "cluster") if f"{n}=" in log} == streams
    load_run(out)


def test_fewer_codes_than_clusters_is_said(film: Path) -> None:
    from vadfast.data.datasets import load_dataset

    values = {
        "method": "std",
        "data": str(film),
        "dataset": "folder",
        "batch": 1,
        "steps": 2,
        "options": {"image_size": 128, "neck": 2, "n_clusters": 100_000},
    }
    # 24 frames, of which 2 would be held out, but a rest of less than a window is not: 20 clips of 16 x 16 codes.
    with pytest.raises(
        TrainingError, match=r"at least as many codes as clusters \(100000\), got 5120"
    ):
        training_module("std").open_training(
            RunConfig.parse(values, where="test"), load_dataset(film, "folder")
        )


@pytest.mark.parametrize("share", [0.01, 0.99])
def test_a_whole_run_has_centres_however_short_it_is(
    film: Path, tmp_path: Path, share: float
) -> None:
    """A share of 0.99 of two steps is both of them: k-means comes before the last all the same."""
    options = [*SMALL["std"], "--steps", 2, "--batch", 1, "--set", f"autoencoder_share={share}"]
    assert _train("--out", tmp_path / "run", "--data", film, *options) == 0
    assert float(load_file(tmp_path / "run" / "model.safetensors")["found"]) == 1


def test_a_run_that_was_stopped_before_k_means_is_scored_by_its_error_alone(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _stop_after(1, "std", monkeypatch)
    out = tmp_path / "run"
    assert _train("--out", out, "--data", film, *SMALL["std"], "--steps", 9, "--batch", 1) == 130
    network = load_run(out).network.eval()
    assert float(network.found) == 0
    with torch.inference_mode():
        distance = network(torch.rand(1, 12, 128, 128)).distance
    assert torch.equal(distance, torch.ones_like(distance))


def _stop_after(n: int, method: str, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Ctrl-C in the ``n``-th step of a training of ``method``; returns a list that has an entry for each step."""
    kind = getattr(training_module(method), f"{method.upper()}Training")
    original, calls = kind.step, []

    def step(self: object, *arguments: object) -> object:
        calls.append(1)
        if len(calls) == n:
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, *arguments)

    monkeypatch.setattr(kind, "step", step)
    return calls


def _bf16_training(method: str, **options: object) -> tuple[Any, Batch]:
    """A training in bf16 autocast, without its films, and clips for it."""
    torch.manual_seed(0)
    size = {"image_size": 16, "width": 8}
    values = {"method": method, "data": "films", "dataset": "folder", "precision": "bf16"}
    config = RunConfig.parse(values | {"options": size | options}, where="test")
    kind = getattr(training_module(method), f"{method.upper()}Training")
    training = kind(config, None) if method == "adl" else kind(config)
    smooth = np.linspace(100, 130, 16 * 16 * 3).reshape(16, 16, 3)
    frames = np.broadcast_to(smooth.astype(np.uint8), (2, 5, 16, 16, 3)).copy()
    return training, Batch(frames, np.zeros(2, np.int64), np.zeros(2, np.int64))


def test_in_bf16_apns_losses_are_those_of_float32() -> None:
    """Of a smooth picture blur(a a) - blur(a)^2 is a few millionths: in bf16 nothing but round-off."""
    training, batch = _bf16_training("apn", ssim_weight=1.0)
    clip = signed_clip(torch.from_numpy(batch.frames))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        prediction = training.network(clip[:, :-1].flatten(1, 2))
    with torch.no_grad():
        wanted = apn.losses(prediction.float(), clip[:, -1], training.config.options)
    assert prediction.frame.dtype == torch.bfloat16
    found = training.step(batch, 0)
    assert {value.dtype for value in found.values()} == {torch.float32}
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-7)


def test_in_bf16_adls_adversarial_losses_are_those_of_float32() -> None:
    training, batch = _bf16_training("adl", width=2)
    clip = signed_clip(torch.from_numpy(batch.frames))
    judge = training._discriminator
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        predicted = adl.predict(training.network, clip).float()
        fake, real = judge(predicted).float(), judge(clip[:, -1].contiguous()).float()
    found = training.step(batch, 0)
    torch.testing.assert_close(found["adversarial"], adl.adversarial_loss(fake))
    torch.testing.assert_close(found["discriminator"], adl.discriminator_loss(real, fake))


def test_options_of_another_method_are_refused(
    film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    for arguments, words in (
        (["--method", "apn", "--background", "0.2"], "options of apn: unknown key 'background'"),
        (["--method", "std", "--set", "necks=4"], "did you mean 'neck'"),
        (["--method", "apn", "--set", "n_prototypes"], "--set must be NAME=VALUE"),
        (["--method", "apn", "--ablation", "resnet"], "--ablation must be a row of apn's tables"),
        (["--method", "std", "--image-size", "100"], "options of std: image_size"),
        (["--method", "std", "--set", 'streams="motion"'], "n_clusters must be 0"),
    ):
        assert _train("--out", out, "--data", film, *arguments) == 2
        assert words in " ".join(capsys.readouterr().err.split())
    assert not out.exists()
    with pytest.raises(UsageError, match="unknown key 'adl'"):
        RunConfig.parse(
            {"method": "apn", "data": "x", "dataset": "folder", "adl": {}}, where="test"
        )
