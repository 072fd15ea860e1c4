"""What this machine has of NVIDIA's, and what that means for ``--target tensorrt``: driver, Jetson Linux, TensorRT, CuPy. No torch."""

import ctypes
import re
from pathlib import Path
from typing import Any

from vadfast.errors import BackendError
from vadfast.runtime.engines.tensorrt import missing
from vadfast.runtime.tensorrt.gpu import import_cupy
from vadfast.runtime.tensorrt.library import find_library

_DRIVER = Path("/proc/driver/nvidia/version")
_JETSON = Path("/etc/nv_tegra_release")
# The first number of Jetson Linux, and of the JetPack that brings it.
_JETPACKS = {"35": "5", "36": "6", "38": "7"}


def nvidia() -> dict[str, Any]:
    """Returns the versions of what is found, None where it is not, and under ``refusal`` why ``--target tensorrt`` cannot run, or None.

    TensorRT and CuPy are imported: what is installed and broken is as good as absent.
    """
    return {
        "driver": _read(_DRIVER, r"\s(\d+\.\d+(?:\.\d+)?)\s"),
        "cuda": _cuda(),
        "jetson": _jetson(),
        "tensorrt": _tensorrt(),
        "cupy": _cupy(),
        "refusal": missing(),
    }


def nvidia_words(found: dict[str, Any]) -> str:
    """Returns ``nvidia()`` as one line."""
    parts = []
    if found["jetson"]:
        parts.append(found["jetson"])
    if found["driver"] or found["cuda"]:
        version = f"driver {found['driver'] or 'of unknown version'}"
        parts.append(version + (f" for CUDA up to {found['cuda']}" if found["cuda"] else ""))
    else:
        parts.append("no driver")
    parts.append(found["tensorrt"] or "no TensorRT")
    parts.append(f"CuPy {found['cupy']}" if found["cupy"] else "no CuPy")
    return f"{', '.join(parts)}: --target tensorrt {found['refusal'] or 'can run here'}"


def _read(file: Path, pattern: str) -> str | None:
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    match = re.search(pattern, text)
    return ".".join(match.groups()) if match else None


def _jetson() -> str | None:
    release = _read(_JETSON, r"R(\d+) \(release\), REVISION: ([\d.]+)")
    if release is None:
        return None
    jetpack = _JETPACKS.get(release.partition(".")[0])
    return f"Jetson Linux {release}" + (f" (JetPack {jetpack})" if jetpack else "")


def _cuda() -> str | None:
    """The newest CUDA that the driver takes."""
    number = ctypes.c_int()
    try:
        if ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(number)):
            return None
    except OSError:
        return None
    return f"{number.value // 1000}.{number.value % 1000 // 10}"


def _tensorrt() -> str | None:
    try:
        return find_library().name
    except BackendError:
        return None


def _cupy() -> str | None:
    try:
        return str(import_cupy().__version__)
    except BackendError:
        return None
