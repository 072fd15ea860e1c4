"""Targets: which engines each races, and that one that cannot run here is said before any work."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from vadfast.cli import exit_code_of
from vadfast.compile import build_bundle
from vadfast.compile.__main__ import command
from vadfast.compile.backends import backends_of
from vadfast.compile.backends.cuda import CUDAEngine
from vadfast.compile.plan import Options, plan_build
from vadfast.data.datasets import Dataset, Video
from vadfast.errors import BackendError, BuildError, UsageError


def test_each_target_races_its_own_and_eager() -> None:
    names = {t: {b.name for b in backends_of(t)} for t in ("auto", "cpu", "tensorrt", "cuda")}
    assert names["tensorrt"] == {"eager", "tensorrt", "tensorrt-plugin"}
    assert names["cuda"] == {"eager", "cuda", "cuda-inductor"}
    assert names["cpu"] == {"eager", "inductor", "mnn", "onnxruntime", "openvino"}
    assert names["auto"] == names["cpu"] | names["tensorrt"] | names["cuda"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_here_is_said(run: Path, tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="--target: cuda cannot run here: torch finds no NVIDIA"):
        build_bundle(run, tmp_path / "a.vad", Options(target="cuda"))
    assert not (tmp_path / "a.vad").exists()
    with pytest.raises(BackendError, match="torch finds no NVIDIA GPU; take another --backend"):
        CUDAEngine.load(tmp_path / "model.safetensors", precision="fp16", batch=1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (Options(false_alarms="1/day"), "--false-alarms: needs the frame rate of the cameras"),
        (
            Options(false_alarms="1/day", fps=10),
            "peak 8 times at least, and 156 frames of .* can peak 5 times at most; give longer normal video",
        ),
        (
            Options(calibrate=Path("nowhere"), data=Path("none")),
            "--calibrate nowhere: no such file or folder",
        ),
    ],
)
def test_what_calibration_lacks_is_said_before_any_work(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: Options, said: str
) -> None:
    from vadfast.data.datasets import load_dataset

    if options.calibrate is not None:
        monkeypatch.setattr("vadfast.compile.footage.load_dataset", load_dataset)
    with pytest.raises(UsageError, match=said):
        plan_build(run, tmp_path / "a.vad", options)


def test_little_video_for_false_alarms_is_noted_before_any_work(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("vadfast.data.holdout.held_out", lambda own, _: [(v, 0) for v in own.train])
    plan_build(run, tmp_path / "a.vad", Options(false_alarms="1/day", fps=10))
    said = capsys.readouterr().err
    assert (
        "note: --false-alarms needs 8 peaks of normal scores, and 396 frames may give fewer" in said
    )
    plan_build(run, tmp_path / "a.vad", Options())
    assert "note:" not in capsys.readouterr().err


def test_cameras_of_another_rate_than_the_normal_video_are_noted(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def held_out(own: Dataset, _: float) -> list[tuple[Video, int]]:
        return [(replace(v, source=replace(v.source, fps=25.0)), 120) for v in own.train]  # type: ignore[type-var]

    monkeypatch.setattr("vadfast.data.holdout.held_out", held_out)
    for fps, said in ((None, False), (25.0, False), (24.0, False), (23.0, True), (27.0, True)):
        plan_build(run, tmp_path / "a.vad", Options(fps=fps))
        assert ("note: --fps says" in capsys.readouterr().err) == said, fps


@pytest.mark.parametrize("extra", [[], ["--dry-run"]])
def test_an_out_that_cannot_be_written_is_said_with_and_without_dry_run(
    run: Path,
    tmp_path: Path,
    extra: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("built")

    monkeypatch.setattr("vadfast.compile.build.export_onnx", never)
    (tmp_path / "file").write_text("")
    before = sorted(tmp_path.rglob("*"))
    for out, said in (
        (tmp_path / "file" / "a.vad", "must be a folder that can be written to"),
        (tmp_path / "file", "must be a new folder or a bundle to replace, got a file at"),
        (tmp_path / "run", "exists and is not a bundle, so it is not replaced"),
        (tmp_path / ("a" * 300) / "a.vad", "must be a folder that can be written to"),
    ):
        arguments = [str(run), "--out", str(out), *extra]
        assert exit_code_of(command, name="compile", arguments=arguments) == 2, out
        assert f"{said}" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_that_fails_leaves_no_folder_behind(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise BuildError("export: failed")

    monkeypatch.setattr("vadfast.compile.build.export_onnx", fail)
    for options in (Options(), Options(format="triton-repository")):
        with pytest.raises(BuildError):
            build_bundle(run, tmp_path / "new" / "a.vad", options)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("precision", "said"), [("auto", False), ("fp32", False), ("int8", True), ("bf16", True)]
)
def test_a_precision_without_a_float_fallback_says_so(
    run: Path,
    tmp_path: Path,
    precision: str,
    said: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plan_build(run, tmp_path / "a.vad", Options(precision=precision))
    words = f"note: --precision {precision} ships no float32 engine"
    assert (words in capsys.readouterr().err) == said


def test_a_file_that_cannot_be_written_is_said_before_any_work(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for option in ("--json", "--report"):
        arguments = [str(run), "--out", str(tmp_path / "a.vad"), option, str(tmp_path)]
        assert exit_code_of(command, name="compile", arguments=arguments) == 2
        assert f"{option}: must be a file that can be written" in capsys.readouterr().err


def test_sigterm_leaves_nothing_behind(tmp_path: Path) -> None:
    code = (
        "import tempfile, time\nfrom vadfast.cli import run_command\n"
        "def command() -> None:\n    with tempfile.TemporaryDirectory(dir='.') as d:\n"
        "        print('ready', flush=True)\n        time.sleep(60)\nrun_command(command, name='x')"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    assert list(tmp_path.iterdir())
    process.terminate()
    assert process.wait(30) == 143
    assert not list(tmp_path.iterdir())
