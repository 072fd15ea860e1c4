"""How much memory one more camera takes: measured by opening several at once, as a process that scores them would hold them."""

import ctypes
from collections.abc import Generator
from contextlib import ExitStack, closing
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import psutil

from vadfast.runtime.manifest import InputSpec
from vadfast.runtime.preprocess import Preprocess
from vadfast.runtime.session import N_BUFFERS
from vadfast.runtime.source import Frame, VideoSource
from vadfast.runtime.window import Window
from vadfast.teachers.pictures import Pictures

_N_MORE = 2  # cameras beside the first, which also loads what all share
_N_FRAMES = 16  # of each: the decoder's own pictures are then as many as they get


def resident_mb() -> float:
    """Returns the memory of this process."""
    return float(psutil.Process().memory_info().rss / 1e6)


def available_mb() -> float:
    """Returns the memory that a process which starts now can have without others being swapped out."""
    return float(psutil.virtual_memory().available / 1e6)


def _give_back() -> None:
    """Lets the allocator return what was freed, so that what is in use is what the system counts; glibc has a call for it."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def camera_mb(path: Path, spec: InputSpec) -> float:
    """Returns the megabytes of one more camera that sends what the film at ``path`` holds: decoder, a picture, ring, buffers, teachers.

    Raises as ``vadfast.doctor.films.film_cost`` does.
    """
    window_bytes = spec.n_pictures * spec.height * spec.width * 3
    held: list[Any] = []
    after: list[float] = []
    picture_bytes = 0
    with ExitStack() as stack:
        for _ in range(1 + _N_MORE):
            # A generator, whose end closes the decoder.
            frames = cast("Generator[Frame, None, None]", iter(VideoSource(path)))
            stack.enter_context(closing(frames))
            preprocess, window = Preprocess(spec), Window(spec)
            teach = Pictures(spec.teachers, path) if spec.teachers else None
            for frame in islice(frames, _N_FRAMES):
                picture_bytes = frame.image.nbytes
                seen = preprocess(frame.image, window.slot())
                if teach is not None:
                    teach(seen, frame.index)
                window.commit()
            # Written to: what is only reserved takes no memory yet.
            held.append((window, teach, np.ones(N_BUFFERS * window_bytes, np.uint8)))
            _give_back()
            after.append(resident_mb())
    measured = (after[-1] - after[0]) / _N_MORE
    # Where freed memory is not given back, what is taken from it does not show.
    return max(measured, (picture_bytes + N_BUFFERS * window_bytes) / 1e6)
