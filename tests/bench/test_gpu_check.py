"""bench/gpu_check.sh on a machine without a GPU: every stage runs, and its verdict and rows are there."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "bench" / "gpu_check.sh"


# What a machine with torch and triton, made for computing, need not have. A module of this name is loaded first by every python.
BARE = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tomli_w", "av", "MNN", "openvino", "onnxruntime", "cv2", "safetensors"{more}):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""


def _run(*arguments: str, out: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OUT": str(out), "PYTHON": sys.executable} | extra
    return subprocess.run(
        [str(SCRIPT), *arguments], capture_output=True, text=True, check=False, env=environment
    )


@pytest.mark.e2e
@pytest.mark.timeout(900)
def test_a_dry_run_goes_through_every_stage(tmp_path: Path) -> None:
    done = _run("--dry-run", out=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    verdicts = (tmp_path / "verdicts.tsv").read_text().splitlines()
    assert [line.split("\t")[:2] for line in verdicts] == [
        ["machine", "passed"],
        ["native", "passed"],
        ["tests", "passed"],
        ["sanitizer", "skipped: it checks a GPU's memory"],
        ["graph", "skipped: it needs a GPU"],
        ["tensorrt", "skipped: it needs a GPU"],
        ["operators", "passed"],
        ["training", "passed"],
        ["engines", "passed"],
        ["inductor", "skipped: it needs a GPU"],
        ["sweep", "passed"],
        ["steps", "passed"],
    ]
    rows = json.loads((tmp_path / "operators.json").read_text())
    assert {row["suite"] for row in rows} == {"operators"}
    timed = {row["case"] for row in rows if "median_ms" in row and row["verified"]}
    assert timed == {row["case"] for row in rows}
    assert {row["kind"] for row in rows} == {"dry run"}
    assert json.loads((tmp_path / "machine.log").read_text())["n_cpus"] >= 1


@pytest.mark.e2e
def test_what_is_not_installed_is_skipped_and_said(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(BARE.format(more=""))
    stages = ("--stage", "machine", "--stage", "training", "--stage", "engines")
    done = _run("--dry-run", *stages, out=tmp_path / "out", PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    verdicts = (tmp_path / "out" / "verdicts.tsv").read_text().splitlines()
    assert [line.split("\t")[:2] for line in verdicts] == [
        ["machine", "passed"],
        ["training", "skipped: tomli_w is not installed"],
        ["engines", "skipped: tomli_w is not installed"],
    ]
    # Newer versions of typer run with pydantic alone, so the command cannot be tried without it; its suites can be read.
    (tmp_path / "sitecustomize.py").write_text(BARE.format(more=', "pydantic"'))
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}:{ROOT / 'kernels'}"}
    suites = "import bench.__main__, bench.suites.test_operators, bench.suites.test_sweep, tests.gpu.cases"
    subprocess.run([sys.executable, "-c", suites], check=True, env=environment)


def _recorder(folder: Path, says: str = "") -> Path:
    """A python that writes down what it is asked, and has a GPU and every module; ``says`` is why TensorRT cannot run."""
    python = folder / "python"
    python.write_text(
        f'#!/bin/sh\necho "$*" >>"{folder}/calls"\ncase "$*" in *tensorrt\\ import*) echo "{says}" ;; esac\n'
    )
    python.chmod(0o755)
    return python


def test_on_a_gpu_what_computes_is_checked_before_what_is_fast(tmp_path: Path) -> None:
    done = _run(out=tmp_path / "out", PYTHON=str(_recorder(tmp_path)))
    assert done.returncode == 0, done.stdout + done.stderr
    verdicts = (tmp_path / "out" / "verdicts.tsv").read_text().splitlines()
    stages = [line.split("\t")[0] for line in verdicts]
    assert stages == [
        "machine", "native", "tests", "sanitizer", "graph", "tensorrt", "operators", "training", "engines", "inductor", "sweep", "steps",
    ]  # fmt: skip
    run = {stage for stage, line in zip(stages, verdicts, strict=True) if "passed" in line}
    assert run >= set(stages) - {"native", "sanitizer"}  # these need programs of their own
    limits = [line for line in done.stdout.splitlines() if line.startswith("== ")]
    assert len(limits) == len(run)
    assert all("(at most " in line for line in limits)
    calls = (tmp_path / "calls").read_text()
    for wanted in (
        "tests/gpu --ignore-glob tests/gpu/test_cuda_*",
        "tests/gpu/test_cuda_engine.py",
        "tests/gpu/test_cuda_inductor.py",
        "-m gpu tests/tensorrt",
        f"-m bench run operators --out {tmp_path / 'out'}",
    ):
        assert wanted in calls


def test_where_tensorrt_cannot_run_its_stage_says_why(tmp_path: Path) -> None:
    python = _recorder(tmp_path, says="needs TensorRT: none is installed")
    done = _run("--stage", "tensorrt", out=tmp_path / "out", PYTHON=str(python))
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "out" / "verdicts.tsv").read_text() == (
        "tensorrt\tskipped: needs TensorRT: none is installed\t0 s\n"
    )
    assert "-m pytest" not in (tmp_path / "calls").read_text()


def test_rows_go_to_the_devices_folder_where_none_is_named(tmp_path: Path) -> None:
    """In a copy: a run without a folder of its own writes beside the script."""
    copy = tmp_path / "copy" / "bench" / "gpu_check.sh"
    copy.parent.mkdir(parents=True)
    shutil.copy(SCRIPT, copy)
    environment = {k: v for k, v in os.environ.items() if k != "OUT"}
    environment["PYTHON"] = str(_recorder(tmp_path))
    done = subprocess.run(
        [str(copy), "--stage", "operators"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (call,) = [c for c in (tmp_path / "calls").read_text().splitlines() if "bench run" in c]
    assert call == "-m bench run operators"  # which writes to bench/results/<device>
    assert (tmp_path / "copy" / "build" / "gpu_check" / "verdicts.tsv").exists()


def test_one_stage_alone(tmp_path: Path) -> None:
    done = _run("--dry-run", "--stage", "machine", out=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split("\t")[0] for line in (tmp_path / "verdicts.tsv").open()] == ["machine"]


def test_a_failing_stage_is_said_and_the_next_one_runs(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(ROOT / "bench", broken / "bench", ignore=shutil.ignore_patterns("__pycache__"))
    (broken / "bench" / "suites" / "test_operators.py").write_text("raise RuntimeError('broken')\n")
    (broken / "vadfast").symlink_to(ROOT / "vadfast")
    environment = os.environ | {"OUT": str(tmp_path / "out"), "PYTHON": sys.executable}
    done = subprocess.run(
        [
            str(broken / "bench" / "gpu_check.sh"),
            "--dry-run",
            "--stage",
            "operators",
            "--stage",
            "machine",
        ],
        capture_output=True,
        text=True,
        check=False,
        env=environment | {"PYTHONPATH": str(broken)},
    )
    assert done.returncode == 1
    assert "operators\tFAILED" in done.stdout
    assert "machine\tpassed" in done.stdout


def test_without_a_gpu_the_real_run_says_so(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    done = _run(out=tmp_path)
    assert done.returncode == 2
    assert "use --dry-run" in done.stderr


@pytest.mark.parametrize("arguments", [("--nonsense",), ("--dry-run", "--stage", "nonsense")])
def test_an_unknown_word_is_a_usage_error(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = _run(*arguments, out=tmp_path)
    assert done.returncode == 2
    assert "nonsense" in done.stderr
