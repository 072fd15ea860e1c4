"""The clips that frame-prediction methods learn from: films decoded once, what is held out left out, batches by seed and step."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from vadfast.data.clips import Batch, ClipSampler, prefetch
from vadfast.data.datasets import Dataset
from vadfast.data.holdout import n_trained
from vadfast.data.store import FrameStore, open_store
from vadfast.errors import UsageError
from vadfast.models.registry import input_spec
from vadfast.progress import steps
from vadfast.train.config import RunConfig


@dataclass(frozen=True)
class Clips:
    """All training frames; film v is trained on up to its frame ``ends[v]``."""

    store: FrameStore
    ends: Sequence[int]
    sampler: ClipSampler
    about: str

    def batches(self, first: int, last: int) -> Generator[Batch, None, None]:
        """Yields the batches of steps ``first`` to ``last - 1``, read in the background."""
        return prefetch(self.sampler, first, last)


def open_clips(config: RunConfig, dataset: Dataset) -> Clips:
    """Decodes the training films, or finds them in the cache.

    Raises:
        UsageError: no film has as many frames as a clip.
    """
    spec = input_spec(config, config.fps)
    with steps("reading frames", None, unit="frames") as bar:
        store = open_store(
            dataset.train, spec, progress=lambda n, total: bar.update(n, total=total)
        )
    lengths = (store.offsets[1:] - store.offsets[:-1]).tolist()
    ends = [n_trained(length, config.holdout) for length in lengths]
    sampler = ClipSampler(store, ends, n_frames=spec.n_frames, batch=config.batch, seed=config.seed)
    if not len(sampler.starts):
        raise UsageError(
            f"--data {dataset.root}: must hold a film with {spec.n_frames} frames to train on, the longest has {max(ends)} of {max(lengths)} "
            f"(--holdout {config.holdout:g} keeps the rest); give longer video, or hold less out"
        )
    about = f"{len(sampler.starts):,} clips of {len(dataset.train)} films, {spec.width} px"
    return Clips(store, ends, sampler, about)
