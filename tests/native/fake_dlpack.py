"""Capsules of DLPack that say what a test wants of their memory: devices, dtypes and strides that no library here makes."""

import ctypes
from typing import Any

CPU, CUDA = 1, 2
UINT, FLOAT, BOOL = 1, 2, 6

_Deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class _Managed(ctypes.Structure):
    """DLManagedTensor of include/dlpack/dlpack.h."""

    _fields_ = (
        ("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32), ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.POINTER(ctypes.c_int64)), ("byte_offset", ctypes.c_uint64),
        ("context", ctypes.c_void_p), ("deleter", _Deleter),
    )  # fmt: skip


_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype = ctypes.py_object
_new_capsule.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]


@_Deleter
def _free_nothing(_: int | None) -> None:
    """The memory is the test's."""


class Fake:
    """An array that exists in words only: what reads it must refuse it first."""

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        code: int = FLOAT,
        bits: int = 32,
        strides: tuple[int, ...] | None = None,
        device: tuple[int, int] = (CPU, 0),
        address: int = 1 << 12,
    ) -> None:
        sizes = ctypes.c_int64 * len(shape)
        self._shape = sizes(*shape)
        self._strides = None if strides is None else sizes(*strides)
        self._device = device
        self._managed = _Managed(
            address, *device, len(shape), code, bits, 1, self._shape, self._strides, 0, None, _free_nothing,
        )  # fmt: skip
        self.streams: list[int | None] = []  # that consumers named

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._device

    def __dlpack__(self, *, stream: int | None = None, **_: Any) -> Any:
        self.streams.append(stream)
        return _new_capsule(ctypes.addressof(self._managed), b"dltensor", None)
