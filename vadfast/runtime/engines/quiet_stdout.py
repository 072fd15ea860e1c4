"""Keeps stdout, which belongs to the scores, from what libraries print there while they are imported."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_stdout(module: str) -> Iterator[None]:
    """Within, nothing reaches stdout, C's printf neither; once ``module`` has been imported, it changes nothing."""
    if module in sys.modules:
        yield
        return
    try:
        kept = os.dup(1)
    except OSError:  # there is no stdout to keep clean
        yield
        return
    sys.stdout.flush()
    flush = ctypes.CDLL(None).fflush  # what C holds back must be out before stdout is ours again
    flush(None)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    try:
        yield
    finally:
        flush(None)
        os.dup2(kept, 1)
        os.close(kept)
