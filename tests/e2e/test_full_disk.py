"""A disk that fills up, made real by the limit on a file's size: one sentence, nothing half-written, the old state kept."""

import resource
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.tiny_bundle import H, W, make_bundle

TRAIN = [
    "--image-size",
    "32",
    "--width",
    "4",
    "--batch",
    "2",
    "--adversarial",
    "0",
    "--holdout",
    "0",
    "--steps",
]


def _run(module: str, *arguments: object, limit: int | None) -> subprocess.CompletedProcess[str]:
    def small() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=small)


def _refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    talk = " ".join(done.stderr.split())
    assert done.returncode == 1, talk
    assert "Traceback" not in talk
    assert "error:" in talk
    for word in words:
        assert word in talk


@pytest.fixture
def film(tmp_path: Path) -> Path:
    folder = tmp_path / "film"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(40):
        cv2.imwrite(str(folder / f"{i:03}.png"), rng.integers(0, 256, (H, W, 3), np.uint8))
    return folder


@pytest.mark.e2e
def test_training_keeps_the_last_whole_checkpoint(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VADFAST_CACHE", str(tmp_path / "cache"))
    data, run = tmp_path / "film", tmp_path / "run"
    _refused(_run("vadfast.train", "--data", data, "--out", run, *TRAIN, 4, limit=20_000), "full")
    assert not list((tmp_path / "cache").rglob("*.npy")), "half a frame store was left"
    # The frames are cached now, so that only the checkpoint meets the limit.
    assert (
        _run("vadfast.train", "--data", data, "--out", run, *TRAIN, 4, limit=None).returncode == 0
    )
    before = (run / "checkpoint.safetensors").read_bytes()
    text = (run / "run.toml").read_text()
    (run / "run.toml").write_text(text.replace("steps = 4", "steps = 8"))
    done = _run("vadfast.train", "--out", run, "--resume", limit=20_000)
    _refused(done, "checkpoint.safetensors", "free some disk space")
    assert (run / "checkpoint.safetensors").read_bytes() == before
    assert not list(run.glob(".*tmp*"))


@pytest.mark.e2e
@pytest.mark.parametrize("option", ["--plot", "--overlay", None])
def test_scoring_leaves_nothing_half_written(
    film: Path, tmp_path: Path, option: str | None
) -> None:
    bundle, out = make_bundle(tmp_path / "tiny.vad"), tmp_path / "out"
    arguments = ["--out", out, *([option] if option else [])]
    _refused(_run("vadfast.score", bundle, film, *arguments, limit=3_000), "full")
    assert list(out.iterdir()) == []
