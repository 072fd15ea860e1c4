"""The demo: how long the whole way takes on this machine, and what comes out of it."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bench.conftest import Desk

TARGET_S = 360.0
METRICS = ("micro_minmax", "micro_raw", "macro")


def test_demo(desk: Desk, tmp_path: Path) -> None:
    """``python -m vadfast.demo`` on the made scene; set-up is not in it."""
    if desk.quick:
        pytest.skip("takes minutes; run without --quick")
    demo, report = tmp_path / "demo", tmp_path / "report.json"
    start = time.perf_counter()
    _python("vadfast.demo", "--out", demo)
    seconds = time.perf_counter() - start
    _python("vadfast.evaluate", demo / "run", "--data", demo / "scene", "--json", report)
    document = json.loads(report.read_text())
    lines = [json.loads(line) for line in (demo / "scores" / "scores.jsonl").open()]
    starts, ends = ([x["frame"] for x in lines if x.get("event") == e] for e in ("start", "end"))
    frames = f"{document['n_scores']:,} labelled frames"
    rows: list[dict[str, Any]] = [
        {
            "provider": "the whole way",
            "value": round(seconds),
            "unit": "s",
            "verified": "every step ended with exit code 0",
            "target": f"< {TARGET_S:g} s",
            "met": seconds < TARGET_S,
        },
        *(
            {
                "provider": m,
                "value": round(document["auc"][m], 4),
                "unit": "AUC",
                "verified": frames,
            }
            for m in METRICS
        ),
        *(
            {
                "provider": f"AUC of {video['name']}",
                "value": round(video["auc"], 4),
                "unit": "AUC",
                "verified": f"{video['n_scores']} labelled frames",
            }
            for video in document["videos"]
        ),
        {
            "provider": "events on the unseen film",
            "value": len(starts),
            "unit": "events",
            "note": "one cyclist passes; alarms "
            + ", ".join(f"{a} to {b}" for a, b in zip(starts, [*ends, "the end"], strict=False)),
        },
    ]
    desk.record("demo", "the demo", rows)


def _python(module: str, *arguments: object) -> None:
    command = [sys.executable, "-m", module, *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
