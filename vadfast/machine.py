"""This machine in a few words: what decides which backends can run. Torch is never imported here."""

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vadfast_kernels import _native

from vadfast.runtime.engine import cpu_features, installed_version, n_cpus

# Instruction sets that decide which kernels a library picks.
_FEATURES = ("avx2", "avx512f", "avx512_vnni", "bf16", "int8", "amx_tile", "asimd")

# What the x86-64 psABI asks of a CPU of each level, as Linux names it.
_V3 = frozenset(("avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"))
_LEVELS = {
    "x86-64-v3": _V3,
    "x86-64-v4": _V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
}


def machine(gpu: str | None) -> dict[str, Any]:
    """Returns what decides which backends can run; ``gpu`` is the name of the one that whoever asks could use."""
    return {
        "cpu": _cpu(),
        "n_cpus": n_cpus(),
        "features": [f for f in _FEATURES if f in cpu_features()],
        "gpu": gpu,
        "torch": installed_version("torch"),
        "python": platform.python_version(),
        "native": _native.refusal() or _native.module().build_info(),
    }


def native_words(native: str | dict[str, Any]) -> str:
    """Returns in words what ``machine()["native"]`` holds."""
    if isinstance(native, str):
        return f"none: it {native}"
    cuda = native["cuda"]
    levels = native["simd"].split(", ")
    simd = f"{native['simd']} (this CPU takes {_level(levels)})" if len(levels) > 1 else levels[0]
    with_cuda = f"CUDA {cuda['version']} for {cuda['architectures']}" if cuda else "no CUDA"
    return f"{native['compiler']}, {simd}, {with_cuda}"


def _level(levels: Sequence[str]) -> str:
    """The first of the core's variants that this CPU has every instruction set of: what the loader chose."""
    has = cpu_features()
    return next((level for level in levels if has >= _LEVELS.get(level, frozenset())), levels[-1])


def _cpu() -> str:
    """What Linux calls it, else its kind."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def torch_gpu() -> str | None:
    """Returns the name of the GPU that torch would use, or None."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None
