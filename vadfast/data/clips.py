"""Batches of training clips, chosen by (seed, step) alone, so that a resumed run sees exactly what it would have seen."""

import queue
import threading
from collections.abc import Generator
from dataclasses import dataclass

import numpy as np

from vadfast.data.store import FrameStore


@dataclass(frozen=True)
class Batch:
    """Clips uint8 [B, T, H, W, 3], the film of each [B] and the number of its last frame in the store [B]."""

    frames: np.ndarray
    video: np.ndarray
    last: np.ndarray


class ClipSampler:
    """Every clip of every film once per epoch, in an order shuffled by (seed, epoch)."""

    def __init__(
        self, store: FrameStore, ends: list[int], *, n_frames: int, batch: int, seed: int
    ) -> None:
        """``ends[v]`` is the number of frames of film v to train on; later ones are held out."""
        starts = [
            np.arange(store.offsets[v], store.offsets[v] + max(0, end - n_frames + 1))
            for v, end in enumerate(ends)
        ]
        self.starts = np.concatenate(starts)  # [n_clips], in store frames
        self.video = np.repeat(np.arange(len(ends)), [len(s) for s in starts])
        self._store, self._n_frames, self._batch, self._seed = store, n_frames, batch, seed
        self._ordered: tuple[int, np.ndarray] | None = (
            None  # the epoch last asked for, and its order
        )

    def batch(self, step: int) -> Batch:
        """The batch of ``step``: a function of the seed and the step only."""
        positions = np.arange(step * self._batch, (step + 1) * self._batch)
        chosen = np.array(
            [self._order(int(p) // len(self.starts))[int(p) % len(self.starts)] for p in positions]
        )
        starts = self.starts[chosen]
        frames = np.stack([self._store.frames[s : s + self._n_frames] for s in starts])
        return Batch(frames, self.video[chosen], starts + self._n_frames - 1)

    def _order(self, epoch: int) -> np.ndarray:
        if self._ordered is None or self._ordered[0] != epoch:
            rng = np.random.default_rng([self._seed, epoch])
            self._ordered = epoch, rng.permutation(len(self.starts))
        return self._ordered[1]


def prefetch(sampler: ClipSampler, first: int, last: int) -> Generator[Batch, None, None]:
    """The batches of steps ``first`` to ``last - 1``, read in the background two ahead."""
    ready: queue.Queue[Batch | BaseException] = queue.Queue(maxsize=2)
    stop = threading.Event()

    def read() -> None:
        try:
            for step in range(first, last):
                if not hand_over(sampler.batch(step)):
                    return
        except BaseException as error:  # handed to the consumer, which raises it
            hand_over(error)

    def hand_over(item: Batch | BaseException) -> bool:
        """Waits for a place, but never for a consumer that has gone: False then."""
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    thread = threading.Thread(target=read, name="vadfast-clips", daemon=True)
    thread.start()
    try:
        for _ in range(first, last):
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()
