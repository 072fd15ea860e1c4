"""The training loop: data, steps, progress, log, checkpoints, and a clean end whatever stops it.

A run is a function of its configuration: batches depend on (seed, step) only, so a run that was stopped and resumed ends, on
CPU, with the same bits as one that was not.
"""

import csv
import math
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from rich.markup import escape
from torch import Tensor

from vadfast.atomic import atomic_file
from vadfast.cli import talk
from vadfast.data.bags import FeatureSet
from vadfast.data.datasets import Dataset
from vadfast.errors import TrainingError, UsageError
from vadfast.methods import model_module, training_module
from vadfast.models.registry import CONFIG_FILE, MODEL_FILE, open_run
from vadfast.progress import steps
from vadfast.train.checkpoint import CHECKPOINT_FILE, load_checkpoint, save_checkpoint, save_tensors
from vadfast.train.config import CHECKPOINT_EVERY_S, RunConfig
from vadfast.train.machine import keep_freed_memory
from vadfast.train.training import Batches, Beginning, Training

LOG_FILE = "log.csv"
LOG_EVERY = 10  # steps


def train(config: RunConfig, dataset: Dataset | FeatureSet, run: Path, *, resume: bool) -> bool:
    """Trains into the directory ``run``; returns False if Ctrl-C ended it early (its checkpoint is then usable).

    Raises:
        TrainingError: a loss is not finite, or there is nothing to resume from.
        UsageError: the data holds no clip to train on, or ``start_from`` is no run of the same network.
    """
    keep_freed_memory()
    module = training_module(config.method)
    # What is missing is said before films are decoded and teachers run.
    state: dict[str, Any] | None = None
    start: dict[str, Tensor] | None = None
    first = 0
    if resume:
        state, first = load_checkpoint(run / CHECKPOINT_FILE, config)
    else:
        start = _weights_to_start_from(config)
        if hasattr(module, "check"):
            module.check(config)
    torch.manual_seed(config.seed)
    training, data = module.open_training(config, dataset)
    if state is not None:
        training.restore(state)
    else:
        if start is not None:
            training.network.load_state_dict(start)
        if isinstance(training, Beginning):
            training.begin()
    config.save(run / CONFIG_FILE)
    talk.print(
        f"training {config.method} on {data.about}, {config.precision} on {config.device}, "
        f"{torch.get_num_threads()} threads, steps {first:,} to {config.steps:,}"
    )
    done = _steps(config, training, data, run, first)
    if done < config.steps:
        talk.print(
            f"stopped after step {done:,}; go on with: python -m vadfast.train --out {escape(str(run))} --resume"
        )
    return done == config.steps


def _steps(config: RunConfig, training: Training, data: Batches, run: Path, first: int) -> int:
    """Runs the steps; returns how many are done when it ends or Ctrl-C comes."""
    step, saved_at, started = first, time.monotonic(), time.monotonic()
    batches = data.batches(first, config.steps)
    with (
        _Log(run / LOG_FILE, first) as log,
        _interrupt() as stopped,
        steps("training", config.steps, first=first) as bar,
    ):
        try:
            for batch in batches:
                losses = training.step(batch, step)
                values = {name: float(value) for name, value in losses.items()}
                _check_finite(values, step, run)
                step += 1
                if step % LOG_EVERY == 0 or step == config.steps:
                    rate = (step - first) * config.batch / (time.monotonic() - started)
                    log.write(step, time.monotonic() - started, rate, values)
                    shown = " ".join(f"{name} {value:.4g}" for name, value in values.items())
                    bar.update(step, detail=f"{rate:.1f} clips/s, {shown}")
                if stopped:
                    break
                if time.monotonic() - saved_at > CHECKPOINT_EVERY_S:
                    _save(config, training, run, step)
                    saved_at = time.monotonic()
        finally:
            batches.close()
    _save(config, training, run, step)
    return step


def _weights_to_start_from(config: RunConfig) -> dict[str, Tensor] | None:
    """Those of the run ``start_from``, which fit the network of this one; None without such a run."""
    if config.start_from is None:
        return None
    stored = open_run(Path(config.start_from))
    if stored.config.method != config.method:
        raise UsageError(
            f"--start-from {config.start_from}: must be a run of method {config.method}, it is one of {stored.config.method}; "
            "name a run of the same method and network"
        )
    weights = stored.network.state_dict()
    try:
        model_module(config.method).Network(config.options).load_state_dict(weights)
    except RuntimeError as error:
        raise UsageError(
            f"--start-from {config.start_from}: must have the same network, its options differ "
            f"({str(error).strip().splitlines()[-1].strip()}); give the same ones"
        ) from error
    return weights


def _save(config: RunConfig, training: Training, run: Path, step: int) -> None:
    save_checkpoint(run / CHECKPOINT_FILE, config, training.state(), step)
    save_tensors(run / MODEL_FILE, training.network.state_dict())


def _check_finite(values: dict[str, float], step: int, run: Path) -> None:
    if not all(math.isfinite(value) for value in values.values()):
        shown = ", ".join(f"{name} {value:g}" for name, value in values.items())
        kept = (
            f"the last checkpoint is in {run}"
            if (run / MODEL_FILE).exists()
            else "no checkpoint was written yet"
        )
        raise TrainingError(
            f"step {step + 1}: the losses must be finite, got {shown}; {kept}; try a lower --learning-rate or --precision fp32"
        )


class _Log:
    """log.csv: a row every few steps; a resumed run cuts the rows after its checkpoint and goes on."""

    _columns = ("step", "seconds", "clips_per_s", "load_1min", "losses")

    def __init__(self, path: Path, first: int) -> None:
        kept: list[list[str]] = []
        if first and path.exists():
            with path.open(newline="", encoding="utf-8") as old:
                kept = [
                    row
                    for row in csv.reader(old)
                    if row and row[0].isdecimal() and int(row[0]) <= first
                ]
        self._path, self._kept = path, kept

    def __enter__(self) -> "_Log":
        # The rows of before are safe under the file's name before it is opened to be added to.
        with (
            atomic_file(self._path) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            csv.writer(file).writerows([self._columns, *self._kept])
        self._file = self._path.open("a", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, step: int, seconds: float, rate: float, losses: dict[str, float]) -> None:
        """Adds a row; flushed, so that a plot can follow a running training."""
        shown = " ".join(f"{name}={value:.6g}" for name, value in losses.items())
        self._writer.writerow(
            [step, f"{seconds:.1f}", f"{rate:.2f}", f"{os.getloadavg()[0]:.2f}", shown]
        )
        self._file.flush()


@contextmanager
def _interrupt() -> Iterator[list[int]]:
    """Yields a list that is empty until Ctrl-C; a second Ctrl-C stops at once."""
    caught: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        caught.append(number)
        signal.signal(signal.SIGINT, previous)

    previous = signal.signal(signal.SIGINT, note)
    try:
        yield caught
    finally:
        signal.signal(signal.SIGINT, previous)
