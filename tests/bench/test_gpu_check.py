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
        ["operators", "passed"],
        ["sanitizer", "skipped: it checks a GPU's memory"],
        ["training", "passed"],
        ["engines", "passed"],
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
