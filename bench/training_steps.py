"""A method's whole training step as ``vadfast.train`` does it, and the same step with its operators written out in eager PyTorch.

Plain, fused and compiled forms are the method's own ``Training`` object on clips of the made scene; nothing of it is copied here.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn
from vadfast_kernels.attention_loss.reference import attention_loss
from vadfast_kernels.attention_map.reference import attention_map
from vadfast_kernels.patch_max_loss.reference import patch_max_loss

from bench.device import compiled, device
from vadfast.data import synthetic
from vadfast.data.datasets import load_dataset
from vadfast.fusion import unfuse
from vadfast.methods import training_module
from vadfast.train.config import RunConfig
from vadfast.train.machine import choose_precision
from vadfast.train.training import Beginning, Training

# All losses are in it: behind ADL's and MTL's warm-up, and STD's k-means, whose centres stay random.
STEPS, NUMBER = 1000, 900
CHECK = -1  # the number of the call that is asked for its gradients; timed calls return nothing
N_FRAMES, N_BATCHES, N_BEFORE = 40, 4, 2
FORMS = ("eager", "fused", "compiled")
EXACT = "float64"

_PLAIN = {
    "attention_loss": attention_loss,
    "attention_map": attention_map,
    "patch_max_loss": patch_max_loss,
}


@dataclass(frozen=True, slots=True)
class Sizes:
    """A method and the options that make its network larger or smaller."""

    method: str
    options: dict[str, int]
    batch: int = 4

    @property
    def words(self) -> str:
        """How a row's ``shape`` names it."""
        options = ", ".join(f"{name} {value}" for name, value in self.options.items())
        return f"batch {self.batch}, {options}"


def write_scene(folder: Path) -> Path:
    """Writes the film that ``step_call`` trains on; returns ``folder``."""
    synthetic.write_film(folder / "a.mp4", synthetic.film(1, N_FRAMES))
    return folder


def precision() -> str:
    """What ``vadfast.train`` chooses here."""
    return choose_precision("auto", device().type)[0]


def step_call(sizes: Sizes, folder: Path, form: str) -> Callable[[int], list[np.ndarray] | None]:
    """A call is a step; call ``CHECK`` is one from the state that the first form has left in ``folder``, and returns its gradients."""
    plain = form != "fused"
    operators = _operators(compiled if form == "compiled" else lambda f: f) if plain else None
    module = training_module(sizes.method)
    config = RunConfig.parse(
        {
            "method": sizes.method,
            "data": str(folder),
            "dataset": "folder",
            "batch": sizes.batch,
            "steps": STEPS,
            "learning_rate": module.LEARNING_RATE,
            "device": device().type,
            "precision": "fp32" if form == EXACT else precision(),
            "options": sizes.options,
        },
        where="bench",
    )
    torch.manual_seed(0)
    training, clips = module.open_training(config, load_dataset(folder / "a.mp4", "folder"))
    if isinstance(training, Beginning):
        training.begin()
    if hasattr(training.network, "found"):
        training.network.found.fill_(1)  # STD's centres weigh nothing before
    batches = list(clips.batches(0, N_BATCHES))
    modules = [part for part in vars(training).values() if isinstance(part, nn.Module)]
    for part in modules:
        if plain:
            unfuse(part)
        if form == EXACT:
            part.double()
        if form == "compiled":
            _compile(part)

    def step(i: int) -> None:
        with _using(module, operators):
            training.step(batches[i % N_BATCHES], NUMBER)

    def call(i: int) -> list[np.ndarray] | None:
        if i != CHECK:
            step(i)
            return None
        training.restore(_state(training, step, folder / "state.pt"))
        if form == EXACT:
            with _in_float64():
                step(0)
        else:
            step(0)
        gradients = (p.grad for part in modules for p in part.parameters() if p.grad is not None)
        return [g.double().cpu().contiguous().numpy() for g in gradients]

    return call


def _state(training: Training, step: Callable[[int], None], path: Path) -> Any:
    """Where every form begins: behind some steps of the first, so that Adam's moments do not make a sign of every gradient."""
    if not path.exists():
        for i in range(N_BEFORE):
            step(i)
        torch.save(training.state(), path)
    return torch.load(path, map_location=device(), weights_only=True)


def _operators(change: Callable[..., Any]) -> Any:
    return SimpleNamespace(**{name: change(function) for name, function in _PLAIN.items()})


@contextmanager
def _using(module: Any, operators: Any) -> Iterator[None]:
    """Gives the method's losses other operators than ``vadfast_kernels.ops``, where it has any in them."""
    if operators is None or not hasattr(module, "ops"):
        yield
        return
    with mock.patch.object(module, "ops", operators):
        yield


def _compile(part: Any) -> None:
    """Everything that a training calls of its networks; what is called within a compiled whole becomes a part of it."""
    part.forward = compiled(part.forward)
    if hasattr(part, "codes"):  # STD's turn of the centres
        part.codes, part.clusters.forward = compiled(part.codes), compiled(part.clusters.forward)


@contextmanager
def _in_float64() -> Iterator[None]:
    """What the methods write as float32 is float64."""
    torch.set_default_dtype(torch.float64)
    try:
        with mock.patch.object(Tensor, "float", Tensor.double):
            yield
    finally:
        torch.set_default_dtype(torch.float32)
