"""The last T frames of one film, always contiguous in memory and never copied to be handed out (csrc/core/ring.cpp)."""

import numpy as np
from vadfast_kernels import _native

from vadfast.runtime.manifest import InputSpec


class Window:
    """A ring of preprocessed frames; write the next frame into ``slot()``, then ``commit()``.

    >>> window = Window(InputSpec(n_frames=2, height=1, width=1))
    >>> window.push(np.full((1, 1, 3), 7, np.uint8)) is None
    True
    >>> window.push(np.full((1, 1, 3), 9, np.uint8))[:, 0, 0, 0]
    array([7, 9], dtype=uint8)
    """

    def __init__(self, spec: InputSpec) -> None:
        self._ring = _native.module().Ring(spec.n_frames, spec.height, spec.width)

    def slot(self) -> np.ndarray:
        """Where the next frame goes, uint8 [H, W, 3]; filled in place, it is seen after ``commit()``."""
        return self._ring.slot()

    def commit(self) -> np.ndarray | None:
        """Takes the frame in ``slot()``; returns the view [T, H, W, 3] of the last T frames, None while fewer came.

        The view is valid until the next frame is written.
        """
        # A film's frames are all kept, whatever their times.
        _, window = self._ring.commit(0)
        return window

    def push(self, frame: np.ndarray) -> np.ndarray | None:
        """Copies ``frame`` into the slot and commits it."""
        self.slot()[...] = frame
        return self.commit()

    def reset(self) -> None:
        """Forgets all frames: after a gap, the next window is full of new ones."""
        self._ring.reset()
