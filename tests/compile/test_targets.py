"""Targets: which engines each races, and that one that cannot run here is said before any work."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from vadfast.cli import exit_code_of
from vadfast.compile import build_bundle
from vadfast.compile.__main__ import command
from vadfast.compile.backends import backends_of
from vadfast.compile.backends.cuda import CUDAEngine
from vadfast.compile.plan import Options, plan_build
from vadfast.errors import BackendError, UsageError


def test_each_target_races_its_own_and_eager() -> None:
    names = {t: {b.name for b in backends_of(t)} for t in ("auto", "cpu", "tensorrt", "cuda")}
    assert names["tensorrt"] == {"eager", "tensorrt"}
    assert names["cuda"] == {"eager", "cuda"}
    assert names["cpu"] == {"eager", "inductor", "mnn", "onnxruntime", "openvino"}
    assert names["auto"] == names["cpu"] | {"tensorrt", "cuda"}


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
        monkeypatch.setattr("vadfast.compile.plan.load_dataset", load_dataset)
    with pytest.raises(UsageError, match=said):
        plan_build(run, tmp_path / "a.vad", options)


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
