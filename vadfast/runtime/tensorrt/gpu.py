"""The GPU that TensorRT runs on: the first that the driver shows (CUDA_VISIBLE_DEVICES chooses), and why there may be none."""

import ctypes
from dataclasses import dataclass
from functools import cache
from typing import Any

from vadfast.errors import BackendError, first_line

_OUT_OF_MEMORY = 2  # cudaErrorMemoryAllocation
_CAPABILITY = (75, 76)  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR


@dataclass(frozen=True, slots=True)
class Gpu:
    """What an engine is built for."""

    name: str
    capability: str  # of compute: "9.0"
    driver: int  # the newest CUDA that the driver takes: 13000 is 13.0


def driver_refusal() -> str | None:
    """Returns None, or in a few words why no program could use an NVIDIA GPU here. Loads the driver, and nothing else."""
    try:
        driver = _driver()
    except OSError:
        return "no NVIDIA driver"
    if status := driver.cuInit(0):
        return f"the NVIDIA driver does not start (error {status} of cuInit)"
    count = ctypes.c_int()
    if driver.cuDeviceGetCount(ctypes.byref(count)) or count.value < 1:
        return "the NVIDIA driver shows no GPU (CUDA_VISIBLE_DEVICES may hide it)"
    return None


def gpu_name() -> str | None:
    """Returns what the driver calls the GPU, or None where ``driver_refusal`` says why there is none. Needs no CuPy."""
    if driver_refusal() is not None:
        return None
    driver, device, name = _driver(), ctypes.c_int(), ctypes.create_string_buffer(256)
    if driver.cuDeviceGet(ctypes.byref(device), 0):
        return None
    return None if driver.cuDeviceGetName(name, len(name), device) else name.value.decode()


def gpu_capability() -> str | None:
    """Returns the GPU's compute capability ("9.0"), or None where the driver tells none. Needs no CuPy."""
    if driver_refusal() is not None:
        return None
    driver, device, numbers = _driver(), ctypes.c_int(), (ctypes.c_int(), ctypes.c_int())
    if driver.cuDeviceGet(ctypes.byref(device), 0):
        return None
    for attribute, number in zip(_CAPABILITY, numbers, strict=True):
        if driver.cuDeviceGetAttribute(ctypes.byref(number), attribute, device):
            return None
    return ".".join(str(number.value) for number in numbers)


def import_cupy() -> Any:
    """Returns CuPy. Raises BackendError where it is absent or broken."""
    # Its own modules raise more than ImportError when a CUDA library is missing.
    try:
        import cupy
    except Exception as error:
        raise BackendError(
            f"needs CuPy, which cannot be imported ({first_line(error)}); pip install cupy-cuda13x, or cupy-cuda12x on CUDA 12"
        ) from error
    return cupy


@cache
def find_gpu() -> Gpu:
    """Returns the GPU. Raises BackendError where there is none, or no CuPy to ask."""
    if refusal := driver_refusal():
        raise BackendError(f"cannot run here: {refusal}")
    cupy = import_cupy()
    try:
        found = cupy.cuda.runtime.getDeviceProperties(0)
        driver = cupy.cuda.runtime.driverGetVersion()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise BackendError(f"cannot run here: CUDA says {first_line(error)}") from error
    return Gpu(found["name"].decode(), f"{found['major']}.{found['minor']}", driver)


def _driver() -> Any:
    return ctypes.CDLL("libcuda.so.1")


def cuda_words(error: Exception) -> str:
    """Returns what a CUDA ``error`` means, for within one of our sentences."""
    if getattr(error, "status", None) != _OUT_OF_MEMORY:
        return f"CUDA says {first_line(error)}"
    free, total = import_cupy().cuda.runtime.memGetInfo()
    return f"the GPU is out of memory ({free >> 20} of {total >> 20} MB are free); end what else uses it"
