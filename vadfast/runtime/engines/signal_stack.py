"""Keeps the memory on which signal handlers run, because OpenVINO takes it away.

OpenVINO 2026.4's CPU plugin, for the sake of AMX, gives the thread that loads it a signal stack of its own, and puts back the one
before when it goes. Of two plugins that do not go in the reverse order the second puts back the first one's, which is freed. The
next signal with a handler (Ctrl-C) is then a segmentation fault that nothing reports.
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class _Stack(ctypes.Structure):
    _fields_ = (("sp", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextmanager
def signal_stack_kept() -> Iterator[None]:
    """Gives this thread back, at the end, the signal stack that it has now: the plugin then leaves it alone when it goes."""
    if sys.platform != "linux":  # only there does the plugin replace it
        yield
        return
    libc, before = ctypes.CDLL(None), _Stack()
    libc.sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        libc.sigaltstack(ctypes.byref(before), None)
