"""``python -m bench run`` as a user types it: one suite, quickly, into a folder of one's own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.results import read_rows

ROOT = Path(__file__).parents[2]


def _bench(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT, env=os.environ | environment
    )


@pytest.mark.e2e
def test_a_quick_suite_writes_verified_rows(tmp_path: Path) -> None:
    done = _bench("run", "preprocess", "--quick", "--out", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = read_rows(tmp_path / "preprocess.json")
    assert {row.provider for row in rows} == {"vadfast", "cv2", "torch"}
    assert all(row.median_ms is not None and row.verified for row in rows)
    assert {"480x360 to 256x256", "1920x1080 to 256x256"} < {row.case for row in rows}
    assert "preprocess" in done.stderr
    assert _bench("compare", tmp_path, tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "nonsense"), "suite must be one of"),
        (("nonsense",), "usage: python -m bench"),
        (("compare", "absent.json", "absent.json"), "absent.json"),
    ],
)
def test_wrong_words_are_usage_errors(arguments: tuple[str, ...], words: str) -> None:
    done = _bench(*arguments)
    assert done.returncode == 2
    assert words in " ".join(done.stderr.split())


def test_a_dry_run_cannot_reach_the_published_rows() -> None:
    done = _bench("run", "operators", VADFAST_BENCH_TINY="1")
    assert done.returncode == 2
    assert "whose numbers mean nothing" in " ".join(done.stderr.split())
