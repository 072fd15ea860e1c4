"""The demonstration goes the whole way, as a new user runs it, only smaller."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.timeout(900)  # two minutes alone; machines are shared
@pytest.mark.e2e
def test_the_demo_ends_with_scores_events_and_pictures(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    arguments = ["--out", str(out), "--steps", "60", "--n-frames", "180"]
    done = subprocess.run(
        [sys.executable, "-m", "vadfast.demo", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for command in ("vadfast.train", "vadfast.evaluate", "vadfast.compile", "vadfast.score"):
        assert f"$ python -m {command}" in done.stderr
    assert "micro_minmax" in done.stdout
    lines = [
        json.loads(line) for line in (out / "scores" / "scores.jsonl").read_text().splitlines()
    ]
    frames = [line["frame"] for line in lines if "score" in line]
    assert frames == list(range(4, 180))
    assert (out / "scores" / "unseen-scores.png").stat().st_size > 10_000
    assert (out / "scores" / "unseen-overlay.mp4").stat().st_size > 10_000
    again = subprocess.run(
        [sys.executable, "-m", "vadfast.demo", "--out", str(out)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 2
    assert "holds a demo already" in " ".join(again.stderr.split())
