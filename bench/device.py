"""Where operators and training steps are measured, by which clock, and how tiny a dry run makes them: the GPU if torch finds one."""

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from bench.shapes import Shape
from vadfast.race import Call, Clock, wall_clock

Function = Callable[..., Any]
QUICK = "VADFAST_BENCH_QUICK"

# Sizes that stay what they are in a dry run: everything else becomes small enough for Triton's interpreter.
_KEPT = ("B", "D", "M", "cell", "rows", "columns")
_TINY_SIDE = 8
_HEAD_START_CYCLES = 20_000_000  # about 10 ms
_MOST_COPIES = 64


def device() -> torch.device:
    """``VADFAST_BENCH_DEVICE`` where it is set, else cuda where torch finds a GPU, else cpu."""
    found = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(os.environ.get("VADFAST_BENCH_DEVICE", found))


def is_tiny() -> bool:
    """Whether this is a dry run (``VADFAST_BENCH_TINY``), whose numbers mean nothing and are kept apart."""
    return os.environ.get("VADFAST_BENCH_TINY") == "1"


def is_quick() -> bool:
    """Whether this is ``python -m bench run --quick``: fewer rounds, and nothing that takes minutes."""
    return os.environ.get(QUICK) == "1"


def shrunk(shape: Shape) -> Shape:
    """``shape``, or in a dry run the same operator at a size that costs nothing."""
    if not is_tiny():
        return shape
    sizes = {k: n if k in _KEPT else min(n, _TINY_SIDE) for k, n in shape.sizes.items()}
    return replace(shape, sizes=sizes | ({"B": 1} if "B" in sizes else {}))


def compiled(function: Function, mode: str = "default") -> Function:
    """``function`` through torch.compile; a dry run tests the capture and spares the minutes of code generation."""
    if is_tiny():
        return torch.compile(function, fullgraph=True, backend="eager")
    # Every case has one shape; a second case in the process must not be taken for a shape that varies.
    return torch.compile(function, fullgraph=True, dynamic=False, mode=mode)


def clock() -> Clock:
    """How a turn is timed where the providers run on ``device()``: by the wall, or on the GPU by its own events.

    A GPU's turn is queued while the GPU is kept waiting, so that its time is the kernels' and not that of Python, which a CUDA
    graph or a fused model would hide. Calls must therefore not wait for their result.
    """
    return cuda_events if device().type == "cuda" else wall_clock


def cuda_events(call: Call, first: int, n_calls: int) -> float:
    """Like ``wall_clock``, between two CUDA events."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda._sleep(_HEAD_START_CYCLES)
    start.record()
    for i in range(first, first + n_calls):
        call(i)
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / n_calls


def n_copies(n_bytes: int) -> int:
    """How many sets of inputs of ``n_bytes`` the calls rotate through, so that a GPU does not find them in its cache.

    One on the CPU: the shapes of these models exceed its caches by themselves.
    """
    if device().type != "cuda":
        return 1
    cache = torch.cuda.get_device_properties(device()).L2_cache_size
    return min(_MOST_COPIES, 1 + 2 * cache // max(n_bytes, 1))


def wait_for_device() -> None:
    """Returns when the GPU has done what it was given; on the CPU at once."""
    if device().type == "cuda":
        torch.cuda.synchronize()
