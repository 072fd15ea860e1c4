"""Learning: ADL on all of UCSD Ped2, from the command a user types to the AUC, beside predictors that learn nothing.

These are the runs of docs/training.md. Each takes as long as its name says on two CPU cores.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.conftest import Desk
from bench.real_data import ped2
from vadfast.data.datasets import load_dataset
from vadfast.evaluate.protocols import VideoScores, evaluate, match_labels
from vadfast.models import adl
from vadfast.runtime.manifest import InputSpec
from vadfast.runtime.preprocess import Preprocess
from vadfast.runtime.score import run_chain

METRICS = ("micro_minmax", "micro_raw", "macro")


@dataclass(frozen=True, slots=True)
class Training:
    """A documented run and what it should reach."""

    name: str
    options: str
    target: dict[str, float]

    def command(self, data: str, out: str) -> str:
        """The line that docs/training.md prints."""
        return f"vadfast.train --data {data} --out {out} {self.options}"


_COMMON = "--width 16 --batch 4 --adversarial 0 --learning-rate 1.5e-3 --holdout 0 --seed 0"
TRAININGS = (
    Training(
        "5 minutes",
        f"--image-size 96 --steps 3000 {_COMMON}",
        {"micro_minmax": 0.91, "micro_raw": 0.855},
    ),
    Training(
        "30 minutes",
        f"--image-size 128 --steps 11000 {_COMMON}",
        {"micro_minmax": 0.94},
    ),
)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """UCSD Ped2, unzipped."""
    return ped2(tmp_path_factory.mktemp("ped2"))


@pytest.mark.parametrize("training", TRAININGS, ids=lambda t: t.name)
def test_training(training: Training, data: Path, tmp_path: Path, desk: Desk) -> None:
    """Trains and evaluates by the two commands."""
    if desk.quick:
        pytest.skip(f"takes {training.name}; run without --quick")
    run, report = tmp_path / "run", tmp_path / "report.json"
    start = time.perf_counter()
    _python(training.command(str(data), str(run)))
    seconds = time.perf_counter() - start
    _python(f"vadfast.evaluate {run} --data {data} --json {report}")
    document = json.loads(report.read_text())
    auc = document["auc"]
    n_scores = document["n_scores"]
    shape = _option(training.options, "--image-size")
    desk.record(
        "ped2",
        f"adl trained for {training.name}",
        [
            {
                "provider": f"adl, {metric}",
                "shape": f"{shape}x{shape}, width {_option(training.options, '--width')}",
                "value": round(auc[metric], 4),
                "unit": "AUC",
                "verified": f"{n_scores:,} labelled frames",
                "note": f"{seconds:.0f} s of training",
                **_verdict(auc[metric], training.target.get(metric)),
                "command": f"python -m {training.command('ped2', 'RUN')} && python -m vadfast.evaluate RUN --data ped2",
            }
            for metric in METRICS
        ],
    )


@pytest.mark.parametrize("image_size", [128, 256])
def test_without_learning(image_size: int, data: Path, desk: Desk) -> None:
    """What PSNR gets from the frame before, and from the line through the two before: the floor of any predictor."""
    spec = InputSpec(n_frames=adl.N_FRAMES, height=image_size, width=image_size, fps=None)
    rows: list[dict[str, Any]] = []
    for name, predict in (("copy of the last frame", _copy), ("linear extrapolation", _line)):
        result = evaluate(_scores(data, spec, predict))
        auc = {metric: result.pooled[metric].auc for metric in METRICS if metric in result.pooled}
        assert result.macro is not None
        auc["macro"] = result.macro
        rows += [
            {
                "provider": f"{name}, {metric}",
                "shape": f"{image_size}x{image_size}",
                "value": round(auc[metric], 4),
                "unit": "AUC",
                "verified": f"{result.n_scores:,} labelled frames",
            }
            for metric in METRICS
        ]
    desk.record("ped2", f"no learning, {image_size} px", rows)


def _copy(frames: np.ndarray) -> np.ndarray:
    return frames[-2]


def _line(frames: np.ndarray) -> np.ndarray:
    return np.clip(2 * frames[-2] - frames[-3], 0, 1)


def _scores(
    data: Path, spec: InputSpec, predict: Callable[[np.ndarray], np.ndarray]
) -> list[VideoScores]:
    preprocess = Preprocess(spec)
    results = []
    for video in load_dataset(data).test:
        frames = []
        for frame in video.source:
            slot = np.empty((spec.height, spec.width, 3), np.uint8)
            preprocess(frame.image, slot)
            frames.append(slot)
        x = np.stack(frames).astype(np.float32) / 255
        n = spec.n_frames
        mse = [np.mean((predict(x[i : i + n]) - x[i + n - 1]) ** 2) for i in range(len(x) - n + 1)]
        components = -10 * np.log10(np.maximum(mse, 1e-10)).astype(np.float32)[:, None]
        raw = adl.PAPER_CHAIN.model_copy(update={"steps": ()})
        chains = {"micro_minmax": adl.PAPER_CHAIN, "micro_raw": raw}
        labels = np.asarray(video.labels, np.uint8)
        results.append(
            VideoScores(
                name=video.name,
                n_frames=len(x),
                labels=match_labels(labels, len(mse), n, name=video.name),
                components=components,
                scores={
                    k: run_chain(c, adl.COMPONENTS, components, None) for k, c in chains.items()
                },
            )
        )
    return results


def _python(command: str) -> None:
    subprocess.run([sys.executable, "-m", *command.split()], check=True, stdout=subprocess.DEVNULL)


def _option(options: str, name: str) -> str:
    words = options.split()
    return words[words.index(name) + 1]


def _verdict(value: float, target: float | None) -> dict[str, Any]:
    return {} if target is None else {"target": f">= {target:g}", "met": value >= target}
