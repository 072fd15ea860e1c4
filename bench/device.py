"""Where operators and training steps are measured: the GPU if torch finds one, else the CPU; and how tiny a dry run makes them."""

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from bench.shapes import Shape

Function = Callable[..., Any]

# Sizes that stay what they are in a dry run: everything else becomes small enough for Triton's interpreter.
_KEPT = ("B", "T", "D", "M", "cell")
_TINY_SIDE = 16


def device() -> torch.device:
    """``VADFAST_BENCH_DEVICE`` where it is set, else cuda where torch finds a GPU, else cpu."""
    found = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(os.environ.get("VADFAST_BENCH_DEVICE", found))


def is_tiny() -> bool:
    """Whether this is a dry run (``VADFAST_BENCH_TINY``), whose numbers mean nothing and are kept apart."""
    return os.environ.get("VADFAST_BENCH_TINY") == "1"


def shrunk(shape: Shape) -> Shape:
    """``shape``, or in a dry run the same operator at a size that costs nothing."""
    if not is_tiny():
        return shape
    sizes = {k: n if k in _KEPT else min(n, _TINY_SIDE) for k, n in shape.sizes.items()}
    return replace(shape, sizes=sizes | ({"B": 1} if "B" in sizes else {}))


def compiled(function: Function) -> Function:
    """``function`` through torch.compile; a dry run tests the capture and spares the minutes of code generation."""
    return torch.compile(function, fullgraph=True, backend="eager" if is_tiny() else "inductor")


def wait_for_device() -> None:
    """Returns when the GPU has done what it was given; on the CPU at once."""
    if device().type == "cuda":
        torch.cuda.synchronize()
