"""What the loop runs: a method's networks, losses and optimisers, and the batches that they learn from.

A method is one file beside this one. Its ``open_training(config, dataset)`` returns both; ``BATCH`` and ``LEARNING_RATE`` are what it
is trained with where nobody says otherwise. It may have ``check(config)``, which says what a new run lacks before any film is decoded.
"""

from collections.abc import Generator
from pathlib import Path
from typing import Any, Protocol, cast, get_args, runtime_checkable

import torch
from torch import Tensor, nn

from vadfast.data.bags import FeatureKind, FeatureSet, load_features
from vadfast.data.datasets import Dataset, Kind, load_dataset
from vadfast.errors import UsageError
from vadfast.methods import BAG_METHODS
from vadfast.train.config import RunConfig


class Batches(Protocol):
    """The data of a run; a batch is a function of the seed and its number alone."""

    @property
    def about(self) -> str:
        """What it is trained on, in words: how many clips of how many films."""

    def batches(self, first: int, last: int) -> Generator[Any, None, None]:
        """Yields the batches of steps ``first`` to ``last - 1``."""


class Training(Protocol):
    """Networks, optimisers and losses of one method; their state is all that a resumed run needs."""

    @property
    def network(self) -> nn.Module:
        """What is shipped: its weights are the run."""

    def step(self, batch: Any, number: int) -> dict[str, Tensor]:
        """Trains on one batch, the ``number``-th of the run; returns the losses by name."""

    def state(self) -> dict[str, Any]:
        """Everything that ``restore`` needs: nested dictionaries and lists of tensors and numbers."""

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on where ``state`` was taken."""


@runtime_checkable
class Beginning(Protocol):
    """A training that has something to do before the first step of a run; a resumed one only restores what was done."""

    def begin(self) -> None:
        """Measures the data, say, with ``network`` as it begins: with the weights of --start-from, if there are some."""


def load_data(method: str, root: Path, kind: str) -> Dataset | FeatureSet:
    """The films that ``method`` learns from: features where it scores bags, frames otherwise.

    Raises:
        UsageError: there is no such ``kind`` of data set for the method, or ``root`` is none.
        SourceError: a label or feature file is damaged.
    """
    kinds = get_args(FeatureKind if method in BAG_METHODS else Kind)
    if kind not in kinds:
        raise UsageError(
            f"--dataset must be {', '.join(kinds[:-1])} or {kinds[-1]} for {method}, got {kind!r}"
        )
    if method in BAG_METHODS:
        return load_features(root, cast(FeatureKind, kind))
    return load_dataset(root, cast(Kind, kind))


def autocast(config: RunConfig) -> torch.autocast:
    """What the networks of a run compute in: bf16 where it was asked for, else as their weights are."""
    return torch.autocast(config.device, torch.bfloat16, enabled=config.precision == "bf16")


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Sets the learning rate of all parameters."""
    for group in optimizer.param_groups:
        group["lr"] = rate
