"""What this machine is best at: precision and memory settings chosen by what the CPU can do, and said."""

import ctypes
import sys
from typing import Literal

import torch

from vadfast.errors import UsageError

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def choose_device(asked: str) -> str:
    """``cpu`` or ``cuda``: what was asked for, and for ``auto`` the GPU where torch finds one.

    Raises:
        UsageError: there is no such device, or no GPU here.
    """
    if asked not in ("auto", "cpu", "cuda"):
        raise UsageError(f"--device must be auto, cpu or cuda, got {asked!r}")
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if asked == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "--device cuda: torch finds no GPU here; use --device cpu or install a CUDA build of torch"
        )
    return asked


def choose_precision(
    asked: Literal["auto", "fp32", "bf16"], device: str
) -> tuple[Literal["fp32", "bf16"], str]:
    """The precision to train in and why, in words.

    On a CPU without bf16 instructions bf16 autocast emulates: measured 9,300 against 440 ms a step on an AVX2 machine
    (width 16, 128x128, batch 8), so ``auto`` looks first.
    """
    if asked != "auto":
        return asked, "as asked"
    if device == "cuda":
        able = torch.cuda.is_bf16_supported()
        return ("bf16", "this GPU has bf16") if able else ("fp32", "this GPU has no bf16")
    able = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return (
        ("bf16", "this CPU has bf16 instructions")
        if able
        else ("fp32", "this CPU has no bf16 instructions")
    )


def keep_freed_memory() -> None:
    """Tells the C allocator to keep large freed blocks instead of returning them to the system.

    In eager PyTorch every large temporary is else fresh memory with page faults: keeping it took a training step from 442
    to 318 ms (AVX2, 2 cores, width 16, 128x128, batch 8), for up to 1.7x the peak memory.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):  # glibc; musl has none and no such fault
            libc.mallopt(_M_MMAP_MAX, 0)
            libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
