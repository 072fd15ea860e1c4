"""Weak supervision: STA on UCF-Crime's X3D features by the commands a user types, over seeds; and what a training step costs.

The split is that of the data (120 + 120 films to train on, 58 + 58 to test); a small MLP reaches a video AUC of 0.86 on it. Steps, rate
and whether segments keep their lengths were chosen by cross-validation on the training films.
"""

import json
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.conftest import Desk
from bench.contest import Check, Field, Provider, Target, contest
from bench.device import device, is_tiny
from bench.real_data import real
from vadfast.evaluate.spread import spread
from vadfast.fusion import unfuse
from vadfast.train.bags import BagBatch
from vadfast.train.config import RunConfig
from vadfast.train.sta import STATraining

FEATURES = "ucf_crime_x3d"
N_SEEDS = 3
_SHORT = "--steps 60 --learning-rate 1e-3"
_LENGTHS = f"--set unit_length=false {_SHORT}"
ROWS = {
    "full": _SHORT,
    "no criss-cross": f"--ablation no-criss-cross {_SHORT}",
    "full, lengths kept": _LENGTHS,
    "no criss-cross, lengths kept": f"--ablation no-criss-cross {_LENGTHS}",
    "no MCE, lengths kept": f"--ablation no-mce {_LENGTHS}",
    "fc head, lengths kept": f"--ablation fc {_LENGTHS}",
}
METRICS = ("video", "micro_raw", "micro_raw_abnormal")
MLP = 0.86


@pytest.mark.parametrize("row", ROWS)
def test_accuracy(row: str, tmp_path: Path, desk: Desk) -> None:
    """Trains and evaluates by the two commands, a run a seed."""
    if desk.quick:
        pytest.skip("takes up to half an hour; run without --quick")
    data = real(FEATURES)
    if data is None:
        pytest.skip(f"no {FEATURES}: set VADFAST_DATA to a folder that holds it")
    options = f"--method sta {ROWS[row]}"
    runs = [tmp_path / f"seed-{seed}" for seed in range(N_SEEDS)]
    start = time.perf_counter()
    for seed, run in enumerate(runs):
        _python("vadfast.train", *options.split(), "--data", data, "--out", run, "--seed", seed)
    seconds = (time.perf_counter() - start) / N_SEEDS
    report = tmp_path / "report.json"
    _python("vadfast.evaluate", *runs, "--data", data, "--json", report)
    found = json.loads(report.read_text())["runs"]
    rows = []
    for metric in METRICS:
        values = [of_run["auc"][metric] for of_run in found]
        of_all = spread(values)
        target = {"target": f">= {MLP:g}, a small MLP", "met": of_all.mean >= MLP}
        rows.append(
            {
                "provider": f"{row}, {metric}",
                "shape": "B60 N32 C2048",
                "value": round(of_all.mean, 4),
                "unit": "AUC",
                "verified": f"{found[0]['n_scores']:,} frames of {len(found[0]['videos'])} films",
                "note": f"{N_SEEDS} seeds: {', '.join(f'{v:.4f}' for v in values)}; deviation {of_all.deviation:.4f}; "
                f"{seconds:.0f} s of training each",
                **(target if metric == "video" and row == "full, lengths kept" else {}),
                "command": f"python -m vadfast.train --data {FEATURES} --out RUN {options} --seed 0 && "
                f"python -m vadfast.evaluate RUN --data {FEATURES}",
            }
        )
    desk.record("sta_accuracy", f"{row}, {N_SEEDS} seeds", rows)


BAGS = 2  # a normal and an abnormal one: the exact form holds 2 GB a bag, and 60 bags do not fit


@contest(
    case=f"training step, {BAGS} bags",
    shape=f"B{BAGS} N32 C2048 D10",
    reference="exact",
    providers=("exact", "vadfast"),
    targets={"vadfast": Target(20.0, ())},
    device=lambda: device().type,
    long=True,
)
def test_step(stack: ExitStack) -> Field:
    """A whole step, losses and update with it; one step of each from the same start must give the same losses."""
    n_segments, n_features = (4, 32) if is_tiny() else (32, 2048)
    config = RunConfig.parse(
        {
            "method": "sta",
            "data": "made",
            "dataset": "features",
            "batch": BAGS,
            "device": device().type,
            "options": {"n_segments": n_segments, "n_features": n_features},
        },
        where="bench",
    )
    generator = torch.Generator().manual_seed(0)
    bags = torch.rand((BAGS, n_segments, n_features), generator=generator)
    batch = BagBatch(bags[:1], bags[1:])

    def training(fused: bool) -> STATraining:
        torch.manual_seed(0)
        nothing = bags[:0]
        made = STATraining(config, (nothing, nothing))
        if not fused:
            unfuse(made.network)
        return made

    def provider(fused: bool) -> Provider:
        running = training(fused)

        def losses_of_first(_: int) -> np.ndarray:
            fresh = training(fused)
            losses = fresh.step(batch, 0)
            return np.array([float(losses[name]) for name in ("ranking", "smoothness", "mce")])

        return Provider(lambda i: running.step(batch, i), result=losses_of_first)

    providers = {"exact": provider(False), "vadfast": provider(True)}
    truth = providers["exact"].result
    assert truth is not None
    wanted = truth(0)

    def check(_: str, found: np.ndarray) -> Check:
        return Check(float(np.abs(found - wanted).max()), 1e-4, "of a loss")

    return Field(providers, check)


def _python(module: str, *arguments: object) -> None:
    line = [sys.executable, "-m", module, *(str(a) for a in arguments)]
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
