"""MTL from made films to a bundle: resumed to the bit, measured in training's own units, scored alike by eager and by the engine."""

import json
import os
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from tests.train.test_train import _train
from vadfast.cli import exit_code_of
from vadfast.compile import build_bundle
from vadfast.compile.plan import Options
from vadfast.data.datasets import load_dataset
from vadfast.errors import TrainingError, UsageError
from vadfast.evaluate.__main__ import command as evaluate
from vadfast.models import mtl
from vadfast.models.eager import EagerEngine
from vadfast.models.registry import load_run
from vadfast.models.resnet34_unet import ResNet34UNet
from vadfast.runtime.bundle import open_bundle
from vadfast.runtime.score import run_chain
from vadfast.runtime.session import raw_scores
from vadfast.runtime.source import open_source
from vadfast.score.__main__ import command as score
from vadfast.teachers.codes import flow_picture
from vadfast.train import mtl as training_of_mtl
from vadfast.train.config import RunConfig
from vadfast.train.mtl import MTLTraining, open_training

SMALL = ["--method", "mtl", "--image-size", 64, "--width", 4, "--batch", 2]


@pytest.fixture(autouse=True)
def _shallow(monkeypatch: pytest.MonkeyPatch) -> None:
    """One block a layer instead of ResNet-34's 3, 4, 6 and 3: the exporter's time grows with them, and nothing else here does."""
    monkeypatch.setattr("vadfast.models.resnet34_unet._BLOCKS", (1, 1, 1, 1))
    monkeypatch.setattr(training_of_mtl, "N_MEASURED", 8)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A red block walks over a textured place; in the test film a blue one runs."""
    root = tmp_path_factory.mktemp("scene")
    rng = np.random.default_rng(0)
    place = cv2.GaussianBlur(rng.integers(60, 160, (64, 64, 3)).astype(np.uint8), (5, 5), 1.5)
    for name, n in (("training/a", 80), ("training/b", 80), ("testing/c", 40)):
        (root / name).mkdir(parents=True)
        for t in range(n):
            image = place.copy()
            x = (3 + 2 * t) % 52
            image[20:32, x : x + 8] = (220, 40, 40)
            image[22:28, x + 2 : x + 5] = 240
            if name == "testing/c" and 15 <= t < 28:
                x = 5 * t % 50
                image[44:54, x : x + 10] = (30, 200, 220)
            noisy = np.clip(image + rng.integers(-3, 4, image.shape), 0, 255).astype(np.uint8)
            cv2.imwrite(str(root / name / f"{t:03}.png"), noisy)
    (root / "testing/labels.json").write_text(json.dumps({"c": [[15, 27]]}))
    return root


def _config(scene: Path, **options: object) -> RunConfig:
    small = {"image_size": 64, "width": 4}
    values = {
        "method": "mtl",
        "data": str(scene),
        "dataset": "folder",
        "batch": 2,
        "steps": 80,
        "options": small | options,
    }
    return RunConfig.parse(values, where="test")  # fmt: skip


def _open(scene: Path, **options: object) -> MTLTraining:
    torch.manual_seed(0)
    training = open_training(_config(scene, **options), load_dataset(scene, "folder"))[0]
    training.begin()
    return training


def test_a_resumed_run_has_the_bits_of_one_that_was_not_stopped(
    scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--data", scene, *SMALL, "--steps", 4, "--seed", 3]
    assert _train("--out", tmp_path / "whole", *options) == 0
    original, calls = MTLTraining.step, []

    def step(self: MTLTraining, *arguments: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(MTLTraining, "step", step)
    assert _train("--out", tmp_path / "cut", *options) == 130
    model = load_run(tmp_path / "cut")  # what Ctrl-C leaves can be scored by
    assert (model.network.error_std > 0).all()  # type: ignore[operator]
    assert _train("--out", tmp_path / "cut", "--resume") == 0
    whole, cut = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    assert whole.keys() == cut.keys()
    assert all(np.array_equal(whole[k].numpy(), cut[k].numpy()) for k in whole)


def test_each_student_learns_by_its_worst_patch_after_the_warm_up(scene: Path) -> None:
    training = _open(scene)
    batch = training._data.clips.sampler.batch(0)
    windows = training._data.windows(batch)
    assert windows.shape == (2, 5, 64, 64, 3)
    with torch.no_grad():
        pairs = training.network.train()(windows)
    for number, wanted in (
        (1, {name: F.mse_loss(*pair) for name, pair in pairs.items()}),
        (2, {
            name: (pair.student - pair.teacher).square().mean(1).unfold(1, 16, 16).unfold(2, 16, 16)
            .mean(dim=(3, 4)).flatten(1).amax(1).mean() for name, pair in pairs.items()
        }),
    ):  # fmt: skip
        found = _open(scene).step(batch, number)  # two of 80 steps are the warm-up
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


def test_the_rate_is_halved_after_each_quarter_and_everything_learns(scene: Path) -> None:
    training = _open(scene, width=16)
    batch = training._data.clips.sampler.batch(0)
    before = {n: p.detach().clone() for n, p in training.network.named_parameters()}
    rates = []
    for number in (0, 20, 40, 60, 79):
        training.step(batch, number)
        rates.append(training._optimizer.param_groups[0]["lr"])
    assert rates == [
        2e-4 * 0.5**n for n in (0, 1, 2, 3, 3)
    ]  # RunConfig's rate; the method's is 1e-3
    assert training_of_mtl.LEARNING_RATE == 1e-3
    still = [n for n, p in training.network.named_parameters() if torch.equal(p, before[n])]
    assert not still


def test_errors_are_measured_as_the_scorer_computes_them(scene: Path) -> None:
    training = _open(scene)
    for number in range(3):
        training.step(training._data.clips.sampler.batch(number), number)
    training.state()
    assert training.network.training
    scorer = mtl.Scorer(training.network).eval()
    with torch.inference_mode():
        found = scorer(training._data.spread(training_of_mtl.N_MEASURED))[0]
    torch.testing.assert_close(found.mean(dim=0), torch.zeros(2), atol=0.02, rtol=0)
    torch.testing.assert_close(found.std(dim=0, correction=0), torch.ones(2), atol=0.02, rtol=0)


def test_the_unit_of_movement_is_the_foregrounds_of_trained_frames(scene: Path) -> None:
    training = _open(scene)
    assert 1.5 < float(training.network.movement_scale) < 4  # the block walks 2 px a frame
    data = training._data
    pictures = np.zeros((160, 2, 4, 4, 3), np.uint8)
    index = np.ones((4, 4), np.uint8)
    walk, run = (flow_picture(np.full((4, 4, 2), v, np.float32), index, 64) for v in (1.0, 9.0))
    pictures[:, 0], pictures[:, 1] = walk, 255
    pictures[[0, 80], 0] = run  # the first frame of a film has no flow
    pictures[75:80, 0] = run  # held out
    ends = [72, 72]
    taught = training_of_mtl.TaughtClips(
        type(data.clips)(data.clips.store, ends, data.clips.sampler, ""), pictures
    )
    assert training_of_mtl._unit(taught, 64.0) == pytest.approx(2**0.5, abs=0.04)
    pictures[1:10, 0, ..., 0] = 200  # 39 px
    with pytest.raises(TrainingError, match=r"be 4 times .* \(39.4 px\) .* --set flow_max_px=157"):
        training_of_mtl._unit(taught, 64.0)
    pictures[:, 1] = 0
    with pytest.raises(TrainingError, match="teachers must see foreground that moves"):
        training_of_mtl._unit(taught, 64.0)


def test_what_a_teacher_or_an_encoder_lacks_is_said_before_anything_is_written(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    for setting, words in (
        ("segmentation={teacher='onnx-segmentation',path='no.onnx'}", "must be a network as ONNX"),
        ("depth={teacher='depth-maps',folder='no'}", "must hold"),
        (
            "appearance_weights=no.safetensors",
            "must be a file of ImageNet weights, there is no such",
        ),
        ("segmentation=sam", "options of mtl: segmentation must be valid"),
        ("attention=head", "options of mtl: attention"),
    ):
        assert _train("--out", out, "--data", scene, *SMALL, "--set", setting) == 2
        assert words in " ".join(capsys.readouterr().err.split())
    assert not out.exists()
    with pytest.raises(UsageError, match="did you mean 'segmentation'"):
        _config(scene, segmentatoin="mog2")


def test_weights_of_imagenet_are_looked_at_first_and_are_no_matter_when_a_run_goes_on(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VADFAST_CACHE", str(tmp_path / "cache"))
    out, data = tmp_path / "run", ["--data", scene, *SMALL]
    assert _train("--out", out, *data, "--set", "motion_weights=no.pth") == 2
    assert "motion_weights: " in capsys.readouterr().err
    assert not (tmp_path / "cache").exists()  # no film was decoded, and no teacher ran
    torch.manual_seed(1)
    encoder = ResNet34UNet(3, 1, width=4).encoder.state_dict()
    torch.save(encoder, tmp_path / "resnet.pth")
    monkeypatch.chdir(tmp_path)
    short = ["--set", "appearance_weights=resnet.pth", "--steps", 1, "--learning-rate", 1e-12]
    assert _train("--out", out, *data, *short) == 0
    trained = load_file(out / "model.safetensors")[
        "students.appearance.encoder.layer1.0.conv1.weight"
    ]
    torch.testing.assert_close(trained, encoder["layer1.0.conv1.weight"])
    # Elsewhere, without the file, and without counting movements again.
    (tmp_path / "resnet.pth").unlink()
    (tmp_path / "else").mkdir()
    monkeypatch.chdir(tmp_path / "else")
    monkeypatch.setattr(training_of_mtl, "_unit", None)
    assert _train("--out", out, "--resume") == 0


def test_weights_of_another_run_are_measured_in_the_units_of_these_films(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, adapted = tmp_path / "first", tmp_path / "adapted"
    data = ["--data", scene, *SMALL, "--steps", 1]
    assert _train("--out", first, *data) == 0
    stored = load_file(first / "model.safetensors")
    unit = float(stored["movement_scale"])
    save_file(stored | {"movement_scale": torch.tensor(9.0)}, first / "model.safetensors")
    slow = ["--learning-rate", 1e-12, "--start-from", first]
    assert _train("--out", adapted, *data, *slow) == 0
    found = load_file(adapted / "model.safetensors")
    assert float(found["movement_scale"]) == unit
    torch.testing.assert_close(
        found["students.motion.head.weight"], stored["students.motion.head.weight"]
    )
    capsys.readouterr()
    for setting, words in (
        (f"segmentation={{teacher='masks',folder='{tmp_path}'}}", "its segmentation is mog2, and"),
        ("semantic=index", "must have the same network"),
        ("motion_weights=no.pth", "motion_weights: must be left out with --start-from"),
    ):
        no = ["--out", tmp_path / "no", *data, "--start-from", first, "--set", setting]
        assert _train(*no) == 2
        assert words in " ".join(capsys.readouterr().err.split())


@pytest.mark.e2e
def test_a_bundle_scores_with_its_teachers_as_the_run_does(
    scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from vadfast.compile.backends import refusal

    monkeypatch.setattr(  # spares a minute of C++ compilation
        "vadfast.compile.candidates.refusal",
        lambda b, p: "left out" if b.name in ("inductor", "mnn") else refusal(b, p),
    )
    # A cache of before may have the teachers' pictures, and then says nothing.
    monkeypatch.setenv("VADFAST_CACHE", str(tmp_path / "cache"))
    run, bundle_path, lines = tmp_path / "run", tmp_path / "scene.vad", tmp_path / "s.jsonl"
    options = ["--steps", 30, "--learning-rate", 1e-3, "--holdout", 0.4]
    assert _train("--out", run, "--data", scene, *SMALL, *options) == 0
    assert "teachers: farneback" in capsys.readouterr().err
    build_bundle(
        run,
        bundle_path,
        Options(precision="fp32", rounds=2, gate_windows=24, ship=("onnxruntime", "openvino")),
    )
    bundle = open_bundle(bundle_path)
    assert bundle.manifest.input.teachers == RunConfig.load(run / "run.toml").options.teachers
    assert bundle.manifest.causal_chain.combine == "max"
    assert exit_code_of(
        score, name="score", arguments=[str(bundle_path), str(scene / "testing/c"), "--jsonl", str(lines)]
    ) == 0  # fmt: skip
    assert "teachers took farneback" in " ".join(capsys.readouterr().err.split())
    rows = [json.loads(line) for line in lines.read_text().splitlines()]
    rows = [row for row in rows if "score" in row]
    assert [row["frame"] for row in rows] == list(range(2, 40))
    model = load_run(run)
    eager = EagerEngine(model.scorer, model.input)
    raw = [r.components for r in raw_scores(eager, model.input, open_source(scene / "testing/c"))]
    found = np.array([list(row["components"].values()) for row in rows])
    np.testing.assert_allclose(found, np.stack(raw), atol=0.02)
    wanted = run_chain(model.causal_chain, model.components, found, bundle.manifest.calibration)
    np.testing.assert_allclose([row["score"] for row in rows], wanted, rtol=1e-6)
    table = tmp_path / "table.json"
    arguments = [str(bundle_path), "--data", str(scene), "--json", str(table)]
    assert exit_code_of(evaluate, name="evaluate", arguments=arguments) == 0
    evaluated = json.loads(table.read_text())
    assert evaluated["auc"]["micro_raw"] > 0.7
    assert evaluated["speed"]["teachers"].startswith("farneback ")
    labels = np.isin(np.arange(2, 40), np.arange(15, 28))
    assert found[labels, 1].mean() > found[~labels, 1].mean() + 1, (
        "who runs is not as the student says"
    )
