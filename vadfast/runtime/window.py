"""The last T frames of one film, always contiguous in memory and never copied to be handed out.

Each frame is kept twice, T slots apart, so that any T successive frames lie side by side somewhere in the ring.
"""

import numpy as np

from vadfast.runtime.manifest import InputSpec


class Window:
    """A ring of 2T preprocessed frames; write the next frame into ``slot()``, then ``commit()``.

    >>> window = Window(InputSpec(n_frames=2, height=1, width=1))
    >>> window.push(np.full((1, 1, 3), 7, np.uint8)) is None
    True
    >>> window.push(np.full((1, 1, 3), 9, np.uint8))[:, 0, 0, 0]
    array([7, 9], dtype=uint8)
    """

    def __init__(self, spec: InputSpec) -> None:
        self._n_frames = spec.n_frames
        self._ring = np.zeros((2 * spec.n_frames, spec.height, spec.width, 3), np.uint8)
        self._count = 0

    def slot(self) -> np.ndarray:
        """Where the next frame goes, uint8 [H, W, 3]; filled in place, it is seen after ``commit()``."""
        return self._ring[self._count % self._n_frames]

    def commit(self) -> np.ndarray | None:
        """Takes the frame in ``slot()``; returns the view [T, H, W, 3] of the last T frames, None while fewer came.

        The view is valid until the next frame is written.
        """
        first = self._count % self._n_frames
        self._ring[first + self._n_frames] = self._ring[first]
        self._count += 1
        if self._count < self._n_frames:
            return None
        return self._ring[first + 1 : first + 1 + self._n_frames]

    def push(self, frame: np.ndarray) -> np.ndarray | None:
        """Copies ``frame`` into the slot and commits it."""
        self.slot()[...] = frame
        return self.commit()

    def reset(self) -> None:
        """Forgets all frames: after a gap, the next window is full of new ones."""
        self._count = 0
