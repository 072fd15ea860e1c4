"""What a number was measured on: the device's name, its load, and everything that could explain a difference."""

import os
import platform
import re
import subprocess
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from vadfast.runtime.engine import cpu_features

# Instruction sets that decide which kernels a CPU library picks.
_FLAGS = ("avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "bf16", "amx_tile", "neon")
_PACKAGES = (
    "torch",
    "triton",
    "mnn",
    "onnxruntime",
    "openvino",
    "numpy",
    "opencv-python-headless",
    "av",
    "cupy-cuda13x",
    "tensorrt",
    "tensorrt-rtx-cu13-libs",
)
_BUSY_SHARE = 0.1  # of the CPUs, used by others while this process sleeps
_WORK = ("user", "nice", "system", "irq", "softirq", "steal")
_LOOK_S = 0.4


@dataclass(frozen=True, slots=True)
class Machine:
    """Where and when; written beside the results as ``machine.json``."""

    cpu: str
    n_cpus: int
    flags: tuple[str, ...]
    clock_mhz: float | None
    memory_gb: float
    gpu: str | None
    system: str
    python: str
    versions: dict[str, str]
    commit: str
    date: str

    def device(self, kind: str = "cpu") -> str:
        """How rows name what they ran on: ``cuda`` is the GPU, ``cpu`` the CPU with what decides its kernels."""
        if kind == "cuda" and self.gpu is not None:
            return self.gpu
        best = next((f for f in ("amx_tile", "avx512f", "avx2", "neon") if f in self.flags), "")
        bf16 = " bf16" if "bf16" in self.flags else ""
        return f"{self.cpu} {self.n_cpus} CPU {best}{bf16}".strip()

    def to_json(self) -> dict[str, Any]:
        """Returns the document of ``machine.json``."""
        return asdict(self)


def folder_of(device: str) -> str:
    """The name of a device's folder under ``bench/results``."""
    return re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")


@cache
def this_machine() -> Machine:
    """Describes the machine as it is found; nothing is changed on it."""
    frequency = psutil.cpu_freq()
    return Machine(
        cpu=_cpu_name(),
        n_cpus=len(os.sched_getaffinity(0)),
        flags=tuple(flag for flag in _FLAGS if flag in cpu_features()),
        clock_mhz=None if frequency is None else round(frequency.current),
        memory_gb=round(psutil.virtual_memory().total / 2**30, 1),
        gpu=_gpu_name(),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        versions=_versions(),
        commit=_commit(),
        date=datetime.now(UTC).date().isoformat(),
    )


def load_average() -> float:
    """Returns how many processes wanted a CPU during the last minute."""
    return round(os.getloadavg()[0], 2)


class StealMeter:
    """How much CPU time the host gave to other guests since this was made."""

    def __init__(self) -> None:
        self._before = psutil.cpu_times()

    def share(self) -> float:
        """Returns it as a share of all CPU time; 0 where the machine cannot tell."""
        now = psutil.cpu_times()
        total = sum(now) - sum(self._before)
        stolen: float = getattr(now, "steal", 0.0) - getattr(self._before, "steal", 0.0)
        return round(stolen / total, 3) if total > 0 else 0.0


def energy_j() -> float | None:
    """Returns the energy counter of all CPU packages, or None where the machine cannot tell (most virtual ones)."""
    counters = Path("/sys/class/powercap").glob("*-rapl:[0-9]*")
    try:
        readings = [int((c / "energy_uj").read_text()) for c in counters if c.name.count(":") == 1]
    except OSError:
        return None
    return sum(readings) / 1e6 if readings else None


def is_busy() -> bool:
    """Whether others use so much of the CPUs that a timing would be theirs as much as ours; looks while this process sleeps."""
    # Not 1 - idle: on some virtual machines the idle counter lags and the shares do not add up to the whole.
    used = psutil.cpu_times_percent(interval=_LOOK_S)
    return sum(used._asdict().get(name, 0.0) for name in _WORK) / 100 > _BUSY_SHARE


def wait_until_idle(limit_s: float) -> bool:
    """Waits until the load average has fallen, at most ``limit_s``; returns whether it has."""
    end = time.monotonic() + limit_s
    while is_busy() and time.monotonic() < end:
        time.sleep(5)
    return not is_busy()


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _gpu_name() -> str | None:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _commit() -> str:
    """The commit, with ``+`` where the tree differs from it."""
    root = Path(__file__).parents[1]
    git = ["git", "-C", str(root)]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--", ".", ":!bench/results"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{head}+" if changed else head
