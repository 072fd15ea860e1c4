"""``vadfast.evaluate`` as a user meets it: bundle and labels in, table and pictures out."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from tests.tiny_bundle import T, reference
from vadfast.cli import exit_code_of
from vadfast.data.datasets import Dataset, load_dataset
from vadfast.errors import SourceError, UsageError
from vadfast.evaluate.__main__ import command
from vadfast.evaluate.assessment import assess
from vadfast.evaluate.protocols import evaluate
from vadfast.evaluate.report import dump, to_json
from vadfast.evaluate.scoring import score_videos
from vadfast.evaluate.subject import Subject, open_subject

N_FRAMES = 24  # of every video of the fixture ``data``


def test_the_command_writes_table_json_and_pictures(
    bundle: Path, data: Path, tmp_path: Path
) -> None:
    run = subprocess.run(
        [
            *(sys.executable, "-m", "vadfast.evaluate", str(bundle), "--data", str(data)),
            *("--json", str(tmp_path / "r.json"), "--plots", str(tmp_path / "plots")),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    for words in (
        "micro_minmax",
        "micro_raw",
        "causal",
        "macro",
        "labels.json",
        "one class",
        "busy",
    ):
        assert words in run.stdout
    assert "macro: leaves out calm: they are of one class" in run.stdout
    report = json.loads((tmp_path / "r.json").read_text())
    assert set(report) >= {"auc", "eer", "ap", "labels", "videos"}
    assert set(report["auc"]) == {
        *("micro_minmax", "micro_raw", "micro_globalminmax", "macro", "macro_pad", "causal")
    }
    assert report["spatial"] is None  # the data set has no masks
    assert 0 < report["speed"]["p50_ms"] <= report["speed"]["p99_ms"]
    assert report["speed"]["frames_per_s"] > 0
    pictures = sorted(p.name for p in (tmp_path / "plots").iterdir())
    assert pictures == ["roc.png", "scores_1.png", "worst_false_alarms.png", "worst_misses.png"]
    for name in pictures:
        assert cv2.imread(str(tmp_path / "plots" / name)) is not None


def test_json_to_standard_output_is_json_alone(
    bundle: Path, data: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert (
        exit_code_of(
            command, name="evaluate", arguments=[str(bundle), "--data", str(data), "--json", "-"]
        )
        == 0
    )
    out, err = capfd.readouterr()
    assert json.loads(out)["macro_skipped"] == ["calm"]
    assert "micro_minmax" in err


def test_a_bundle_is_evaluated_without_torch(bundle: Path, data: Path) -> None:
    code = (
        "import sys\n"
        "from vadfast.cli import exit_code_of; from vadfast.evaluate.__main__ import command\n"
        f"arguments = [{str(bundle)!r}, '--data', {str(data)!r}]\n"
        "code = exit_code_of(command, name='evaluate', arguments=arguments)\n"
        "sys.exit(code or 'torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_a_run_scores_as_its_bundle_but_has_no_causal_score(
    subject: Subject,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    torch = pytest.importorskip("torch", reason="a run is evaluated in eager PyTorch")

    class Scorer(torch.nn.Module):  # type: ignore[misc,name-defined]
        def forward(self, frames: Any) -> Any:
            components, heatmap = reference(frames.numpy())
            return torch.from_numpy(components), torch.from_numpy(heatmap)

    run = SimpleNamespace(
        method="tiny",
        scorer=Scorer(),
        input=subject.input,
        components=subject.components,
        paper_chain=subject.paper_chain,
        causal_chain=subject.causal_chain,
        checkpoint_sha256="0" * 64,
    )
    registry = SimpleNamespace(load_run=lambda path: run)
    monkeypatch.setitem(sys.modules, "vadfast.models.registry", registry)  # type: ignore[arg-type]
    (tmp_path / "run.toml").write_text('data = "x"\ndataset = "folder"\n')
    arguments = [str(tmp_path), "--data", str(data), "--json", str(tmp_path / "r.json")]
    assert exit_code_of(command, name="evaluate", arguments=arguments) == 0
    assert "needs a bundle" in " ".join(capsys.readouterr().out.split())
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["subject"]["kind"] == "run"
    assert "causal" not in report["auc"]
    dataset = load_dataset(data, "folder")
    compiled = evaluate(score_videos(subject, dataset))
    for name in ("micro_minmax", "micro_raw"):
        assert report["auc"][name] == pytest.approx(compiled.pooled[name].auc, abs=0.02)  # ties


def test_scores_stand_beside_the_labels_of_their_frames(subject: Subject, data: Path) -> None:
    dataset = load_dataset(data, "folder")
    videos = score_videos(subject, dataset)
    for video, given in zip(videos, dataset.test, strict=True):
        assert (video.n_frames, len(video.labels), video.first_frame) == (
            N_FRAMES,
            N_FRAMES - T + 1,
            T - 1,
        )
        assert given.labels is not None
        np.testing.assert_array_equal(video.labels, given.labels[T - 1 :])
        frames = np.stack([frame.image for frame in given.source]).astype(np.float32) / 255
        motion = np.abs(np.diff(frames, axis=0)).mean((1, 2, 3))[T - 2 :]  # of frames T-1, T, ...
        np.testing.assert_allclose(video.components[:, 0], motion, atol=1e-6)
        np.testing.assert_allclose(video.scores["micro_raw"], motion, atol=1e-6)
        if video.name != "calm":
            assert (video.scores["micro_minmax"].min(), video.scores["micro_minmax"].max()) == (
                0,
                1,
            )


def test_json_is_what_architecture_promises(subject: Subject, data: Path) -> None:
    report: dict[str, Any] = json.loads(
        dump(to_json(assess(subject, load_dataset(data, "folder"))))
    )
    by_name = {video["name"]: video for video in report["videos"]}
    assert by_name["calm"]["auc"] is None
    assert 0.5 < by_name["busy"]["auc"] <= 1
    assert by_name["busy"]["n_frames"] == N_FRAMES
    assert by_name["busy"]["n_abnormal"] == 5
    assert "labels.json" in report["labels"]
    assert report["auc"]["macro"] == pytest.approx(
        np.mean([v["auc"] for v in by_name.values() if v["auc"] is not None])
    )
    assert report["eer"] == report["pooled"]["micro_minmax"]["eer"]
    assert report["subject"]["kind"] == "bundle"


def test_several_bundles_get_means_and_deviations(
    bundle: Path, data: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(bundle), str(bundle), "--data", str(data), "--json", "-"]
    assert exit_code_of(command, name="evaluate", arguments=arguments) == 0
    out, err = capfd.readouterr()
    report = json.loads(out)
    assert len(report["runs"]) == 2
    assert report["mean"]["micro_raw"] == pytest.approx(report["runs"][0]["auc"]["micro_raw"])
    assert report["deviation"]["micro_raw"] == 0
    assert "mean ± deviation" in err


def test_one_component_alone_is_the_whole_score(
    bundle: Path, data: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(bundle), "--data", str(data), "--json", "-", "--only", "brightness"]
    assert exit_code_of(command, name="evaluate", arguments=arguments) == 0
    report = json.loads(capfd.readouterr().out)
    assert report["subject"]["scored_by"] == ["brightness"]
    # Abnormal frames are brighter, and brightness is said to be normal: nearly all pairs are wrong.
    assert report["auc"]["micro_raw"] < 0.1
    arguments[-1] = "colour"
    assert exit_code_of(command, name="evaluate", arguments=arguments) == 2
    assert "--only must be one of motion, brightness" in " ".join(capfd.readouterr().err.split())


def test_where_there_are_masks_places_are_judged_too(subject: Subject, data: Path) -> None:
    """The tiny heat map is the change of each cell, and whole frames change where it is abnormal."""
    dataset = load_dataset(data, "folder")

    def masked(video: Any) -> Any:
        whole = np.asarray(video.labels, bool)[:, None, None] & np.ones((1, 8, 12), bool)
        return replace(video, masks=lambda: whole)

    dataset = replace(
        dataset, test=tuple(masked(v) if v.name == "busy" else v for v in dataset.test)
    )
    found = assess(subject, dataset)
    assert found.spatial is not None
    assert found.spatial.videos == ("busy",)
    busy = next(v for v in found.videos if v.name == "busy")
    assert busy.heatmaps is not None
    assert [v.name for v in found.videos if v.heatmaps is not None] == ["busy"]
    # Cells of a frame are alike, so finding pixels is finding frames.
    assert found.spatial.pixel_level == pytest.approx(found.result.video_auc["busy"], abs=1e-6)
    assert json.loads(dump(to_json(found)))["spatial"]["regions"]["tbdc"] is None


def without_labels(dataset: Dataset, *names: str) -> Dataset:
    return replace(
        dataset,
        test=tuple(
            replace(v, labels=None) if v.name in names or not names else v for v in dataset.test
        ),
    )


def with_labels(dataset: Dataset, change: Any) -> Dataset:
    return replace(dataset, test=tuple(replace(v, labels=change(v.labels)) for v in dataset.test))


def test_bad_labels_are_refused_before_anything_is_scored(subject: Subject, data: Path) -> None:
    class Untouchable:
        batch = 1
        backend = precision = "none"

        def __call__(self, frames: np.ndarray) -> None:
            raise AssertionError("scored before the labels were checked")

    idle = replace(subject, engine=Untouchable())  # type: ignore[arg-type]
    dataset = load_dataset(data, "folder")
    cases = {
        "none of the test videos has frame labels.*looked for .*labels.json": without_labels(
            dataset
        ),
        "busy, calm lack frame labels": without_labels(dataset, "busy", "calm"),
        "has no test videos, only 1 for training": replace(dataset, test=()),
        "all 60 scored frames are labelled normal": with_labels(dataset, np.zeros_like),
        "all 60 scored frames are labelled abnormal": with_labels(dataset, np.ones_like),
    }
    for words, bad in cases.items():
        with pytest.raises(SourceError, match=words):
            score_videos(idle, bad)


def test_too_few_and_too_many_labels_name_both_numbers(subject: Subject, data: Path) -> None:
    dataset = load_dataset(data, "folder")
    for change, n in ((lambda of: of[:-1], 23), (lambda of: np.append(of, of[-1:]), 25)):
        with pytest.raises(SourceError, match=f"busy has {n} labels but 24 decoded frames"):
            score_videos(subject, with_labels(dataset, change))


def test_neither_run_nor_bundle_is_one_sentence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    for path, came in (
        (tmp_path, "a folder with neither"),
        (tmp_path / "file", "a file"),
        (tmp_path / "no", "nothing"),
    ):
        with pytest.raises(UsageError, match=f"must be a training run .*, found {came}"):
            open_subject(path)
    assert (
        exit_code_of(command, name="evaluate", arguments=[str(tmp_path), "--data", str(tmp_path)])
        == 2
    )
    _, err = capfd.readouterr()
    assert "Traceback" not in err
