"""The bags that weakly supervised methods learn from: as many normal as abnormal ones a step, some films of each kind held out."""

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vadfast.data.bags import FeatureSet, stack_bags
from vadfast.errors import UsageError
from vadfast.train.config import RunConfig

# Apart from the batches' own stream of numbers, which is [seed, kind, epoch].
_HOLD_OUT = 2


@dataclass(frozen=True, slots=True)
class BagBatch:
    """Normal and abnormal bags, float32 [B / 2, N, C] each."""

    normal: Tensor
    abnormal: Tensor


@dataclass(frozen=True, slots=True)
class Bags:
    """All training bags: index 0 of each pair is normal, 1 abnormal."""

    trained: tuple[Tensor, Tensor]
    held_out: tuple[Tensor, Tensor]
    half: int  # bags of each kind in a batch
    seed: int
    about: str

    def batches(self, first: int, last: int) -> Generator[BagBatch, None, None]:
        """Yields the batches of steps ``first`` to ``last - 1``."""
        return (self._batch(step) for step in range(first, last))

    def _batch(self, step: int) -> BagBatch:
        return BagBatch(self._half(0, step), self._half(1, step))

    def _half(self, kind: int, step: int) -> Tensor:
        """Every film once per epoch of its kind, in an order shuffled by (seed, kind, epoch): never drawn with replacement."""
        bags = self.trained[kind]
        n = len(bags)
        places = np.arange(step * self.half, (step + 1) * self.half)
        orders = {epoch: self._order(kind, epoch, n) for epoch in np.unique(places // n).tolist()}
        return bags[torch.tensor([orders[p // n][p % n] for p in places.tolist()])]

    def _order(self, kind: int, epoch: int, n: int) -> list[int]:
        return np.random.default_rng([self.seed, kind, epoch]).permutation(n).tolist()


def open_bags(config: RunConfig, dataset: FeatureSet) -> Bags:
    """Reads and pools the training films.

    Raises:
        UsageError: the batch is odd, the data has other features than the run, or training films of one kind are missing.
        SourceError: a film cannot be read, or has features of another width.
    """
    options = config.options
    if config.batch % 2:
        raise UsageError(
            f"--batch: must be even, as many normal as abnormal bags a step, got {config.batch}"
        )
    kinds = [[v for v in dataset.train if v.abnormal == abnormal] for abnormal in (False, True)]
    for words, videos in zip(("normal", "abnormal"), kinds, strict=True):
        n_held = _n_held_out(len(videos), config.holdout)
        if len(videos) == n_held:
            raise UsageError(
                f"--data {dataset.root}: must have {words} training films, has {len(videos)} and holds {n_held} of them out; "
                "weak supervision ranks films of both kinds: add some, or lower --holdout"
            )
    read = [
        stack_bags(
            videos,
            n_segments=options.n_segments,
            n_features=options.n_features,
            name="reading bags",
        )
        for videos in kinds
    ]
    trained, held_out = zip(
        *(_part(stack.bags, config, k) for k, stack in enumerate(read)), strict=True
    )
    about = (
        f"{len(trained[0])} normal and {len(trained[1])} abnormal bags of "
        f"{options.n_segments} x {options.n_features} ({len(held_out[0]) + len(held_out[1])} held out)"
    )
    return Bags(trained, held_out, config.batch // 2, config.seed, about)


def _part(bags: np.ndarray, config: RunConfig, kind: int) -> tuple[Tensor, Tensor]:
    """Trained and held-out bags of one kind; which follows from the seed, so that several seeds see all films held out."""
    order = np.random.default_rng([config.seed, kind, 0, _HOLD_OUT]).permutation(len(bags))
    n_held = _n_held_out(len(bags), config.holdout)
    return torch.from_numpy(bags[order[n_held:]]), torch.from_numpy(bags[order[:n_held]])


def _n_held_out(n: int, fraction: float) -> int:
    return int(n * fraction)
