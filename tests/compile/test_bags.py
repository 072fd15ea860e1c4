"""STA compiled: a bundle of its own kind, whose scores are eager's, which proves itself and says what is wrong with it."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from tests.data.made_features import write_packed
from tests.train.test_train import _train
from vadfast.cli import exit_code_of
from vadfast.compile.__main__ import command as compile_command
from vadfast.compile.bag_scorer import LinearAttention
from vadfast.compile.bundle import seal
from vadfast.compile.signing import open_key
from vadfast.errors import BundleError, EngineMismatch
from vadfast.evaluate.__main__ import command as evaluate_command
from vadfast.layers import STAAttention
from vadfast.runtime.bag_manifest import BagManifest
from vadfast.runtime.bags import open_bag_bundle
from vadfast.runtime.bundle import open_bundle
from vadfast.runtime.zipped import pack
from vadfast.train.config import RunConfig


def _compile(*arguments: object) -> int:
    return exit_code_of(compile_command, name="compile", arguments=[str(a) for a in arguments])


def _evaluate(*arguments: object) -> int:
    return exit_code_of(evaluate_command, name="evaluate", arguments=[str(a) for a in arguments])


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A run, its bundle, and the features of both."""
    root = tmp_path_factory.mktemp("sta")
    data, run, bundle = root / "data", root / "run", root / "sta.vad"
    write_packed(data)
    options = ["--set", "n_segments=8", "--set", "hidden=4", "--set", "scale=2.0"]
    learn = ["--batch", 8, "--steps", 20, "--learning-rate", 0.02]
    assert _train("--method", "sta", "--data", data, "--out", run, *options, *learn) == 0
    assert _compile(run, "--out", bundle, "--json", root / "compile.json") == 0
    document = json.loads((root / "compile.json").read_text())
    assert document["gate"]["max_score_error"] <= document["gate"]["allowed"] == 1e-4
    return data, run, bundle


def test_the_bundle_has_the_runs_scores_and_auc(
    compiled: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    data, run, bundle = compiled
    reports = []
    for subject in (run, bundle):
        assert _evaluate(subject, "--data", data, "--json", tmp_path / "report.json") == 0
        reports.append(json.loads((tmp_path / "report.json").read_text()))
    eager, ours = ([v["segment_scores"] for v in report["videos"]] for report in reports)
    assert np.ptp(eager) > 0.1  # not all the same
    np.testing.assert_allclose(ours, eager, atol=1e-5)
    assert reports[1]["subject"]["backend"] == "onnxruntime"
    for report in reports:
        speed = report["speed"]
        assert speed["batch"] == 16
        assert 0 < speed["p50_ms"] <= speed["p99_ms"]
        # Reading is in the first, the network alone in the second.
        assert 0 < speed["bags_per_s"] < 1e6
    assert reports[1]["auc"] == pytest.approx(reports[0]["auc"], abs=1e-6)


def test_the_graph_is_of_standard_operators_and_takes_any_number_of_bags(
    compiled: tuple[Path, Path, Path],
) -> None:
    *_, bundle = compiled
    model = onnx.load(bundle / "model.onnx")
    assert {o.domain for o in model.opset_import} == {""}
    assert [n.op_type for n in model.graph.node].count("RNN") == 2
    opened = open_bag_bundle(bundle)
    bags = np.random.default_rng(0).random((5, 8, 12), np.float32)
    one_by_one = np.concatenate([opened.engine(bag[None]) for bag in bags])
    np.testing.assert_allclose(opened.engine(bags), one_by_one, atol=1e-6)
    with pytest.raises(ValueError, match=r"bags must be float32 \[B, 8, 12\]"):
        opened.engine(bags[:, :, :5])


def test_a_bundle_of_bags_that_is_not_whole_is_said(
    compiled: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run, bundle = compiled
    with pytest.raises(
        BundleError, match="must be a bundle that scores frames here, it scores bags"
    ):
        open_bundle(bundle)
    copy = tmp_path / "sta.vad.zip"
    pack(bundle, copy)
    assert _evaluate(copy, "--data", data) == 0
    folder = tmp_path / "changed.vad"
    shutil.copytree(bundle, folder)
    np.save(folder / "golden" / "scores.npy", np.load(bundle / "golden" / "scores.npy") + 0.01)
    with pytest.raises(BundleError, match=r"scores\.npy was changed"):
        open_bag_bundle(folder)
    manifest = BagManifest.model_validate_json((folder / "manifest.json").read_text())
    seal(folder, manifest, open_key(None))
    with pytest.raises(EngineMismatch, match=r"must be within 0\.0001 of the sealed ones"):
        open_bag_bundle(folder)
    capsys.readouterr()
    assert _compile(run, "--out", tmp_path / "b.vad", "--precision", "bf16") == 2
    assert "scores bags of features" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "b.vad").exists()


def test_a_data_set_of_features_has_names(
    compiled: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run, _ = compiled
    for kind in ("ucf-crime", "features"):
        assert _evaluate(run, "--data", data, "--dataset", kind) == 0
        assert "bags/s from features to scores; the network took" in capsys.readouterr().out
    assert _evaluate(run, "--data", data, "--dataset", "ped2") == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "--dataset: must be auto, features or ucf-crime for" in said
    given = ["--method", "sta", "--data", data, "--dataset", "ucf-crime", "--out", tmp_path / "r"]
    assert _train(*given, "--set", "n_segments=8", "--set", "hidden=4", "--steps", 1) == 0
    assert RunConfig.load(tmp_path / "r" / "run.toml").dataset == "ucf-crime"


@pytest.mark.parametrize("recurrence", [1, 2])
def test_the_attention_that_is_exported_is_the_layers(recurrence: int) -> None:
    torch.manual_seed(0)
    layer = STAAttention(recurrence=recurrence).eval()
    bags = torch.randn(2, 5, 33)
    torch.testing.assert_close(LinearAttention(layer)(bags), layer(bags), atol=3e-6, rtol=1e-5)
