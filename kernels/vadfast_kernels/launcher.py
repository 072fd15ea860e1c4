"""Runs packed kernels with the CUDA driver alone: this file, a folder of cubins and a manifest; no torch, no Triton, no NumPy.

    kernels = Pack("kernels")                                # opens the driver and the first GPU
    kernels["criss_cross_fwd L128 D16 C128 bf16"](*arguments, grid=(2, 256, 1), stream=stream)

Pointers are addresses on the device as integers, from whoever owns the memory. Work is only queued on ``stream``. What is loaded stays
loaded as long as the process lives.
"""

import ctypes
import hashlib
import json
from pathlib import Path
from typing import Any

FORMAT = 1  # of the manifest
C_TYPES: dict[str, Any] = {
    "i1": ctypes.c_int8, "i8": ctypes.c_int8, "i16": ctypes.c_int16, "i32": ctypes.c_int32, "i64": ctypes.c_int64,
    "u1": ctypes.c_uint8, "u8": ctypes.c_uint8, "u16": ctypes.c_uint16, "u32": ctypes.c_uint32, "u64": ctypes.c_uint64,
    "fp32": ctypes.c_float, "fp64": ctypes.c_double,
}  # fmt: skip
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76  # CUdevice_attribute
_MAX_DYNAMIC_SHARED = 8  # CUfunction_attribute
_SHARED_WITHOUT_ASKING = 48 * 1024


class LaunchError(RuntimeError):
    """A kernel cannot be loaded or launched; the message says what was wanted, what came, and what to do."""


class Pack:
    """The kernels of a folder that this GPU can run, by name."""

    def __init__(
        self, folder: str | Path, *, device: int = 0, library: str = "libcuda.so.1"
    ) -> None:
        """Opens ``folder`` for ``device``; ``library`` is the driver's.

        Raises:
            LaunchError: there is no driver or no such GPU, or ``folder`` is no pack or has nothing for this GPU.
        """
        self._folder, self._driver = Path(folder), _Driver(library)
        try:
            manifest = json.loads((self._folder / "manifest.json").read_text())
            found, kernels = manifest["format"], manifest["kernels"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LaunchError(
                f"{folder} must hold a manifest.json, and does not ({error}): pack it again"
            ) from error
        if found != FORMAT:
            raise LaunchError(
                f"the manifest must be of format {FORMAT}, got {found}: take the pack's own launcher"
            )
        self.capability = self._driver.open(device)
        self._entries = {k["name"]: k for k in kernels if k["architecture"] == self.capability}
        if not self._entries:
            have = ", ".join(f"sm_{a}" for a in sorted({k["architecture"] for k in kernels}))
            raise LaunchError(
                f"the pack must hold kernels for sm_{self.capability}, this GPU, and has {have or 'none'}: pack with "
                f"--arch {self.capability}"
            )
        self._loaded: dict[str, Kernel] = {}

    def __getitem__(self, name: str) -> "Kernel":
        """Returns the kernel, loaded once.

        Raises:
            LaunchError: there is none of this name, its file is not what was packed, or the driver refuses it.
        """
        if name not in self._loaded:
            if name not in self._entries:
                raise LaunchError(f"no kernel {name!r} for sm_{self.capability}: see manifest.json")
            self._loaded[name] = Kernel(self._entries[name], self._folder, self._driver)
        return self._loaded[name]


class Kernel:
    """One kernel, loaded."""

    def __init__(self, entry: dict[str, Any], folder: Path, driver: "_Driver") -> None:
        self._entry, self._driver = entry, driver
        file = folder / entry["file"]
        cubin = file.read_bytes() if file.is_file() else b""
        if hashlib.sha256(cubin).hexdigest() != entry["sha256"]:
            raise LaunchError(
                f"{file} is not the file that was packed (sha256 differs): copy the pack again"
            )
        self._function = driver.load(cubin, entry["symbol"])
        if entry["shared_bytes"] > _SHARED_WITHOUT_ASKING:
            driver("cuFuncSetAttribute", self._function, _MAX_DYNAMIC_SHARED, entry["shared_bytes"])

    def __call__(
        self, *arguments: float, grid: tuple[int, int, int] | None = None, stream: int = 0
    ) -> None:
        """Queues one launch; ``grid`` may be left out where sizes and strides are those that the kernel was recorded with.

        Raises:
            LaunchError: an argument is not what the manifest says, or the driver refuses.
        """
        entry = self._entry
        wanted = entry["arguments"]
        if len(arguments) != len(wanted):
            names = ", ".join(a["name"] for a in wanted)
            raise LaunchError(
                f"{entry['name']} takes {len(wanted)} arguments ({names}), got {len(arguments)}"
            )
        values = [_value(a, v) for a, v in zip(wanted, arguments, strict=True)]
        if grid is None:
            recorded = entry["scalars"]
            for argument, value in zip(wanted, arguments, strict=True):
                if recorded.get(argument["name"], value) != value:
                    raise LaunchError(
                        f"{argument['name']} must be {recorded[argument['name']]} where no grid is given, got {value}: give a grid"
                    )
            grid = entry["grid"]
        if len(grid) != 3:
            raise LaunchError(f"grid must be 3 numbers of blocks, got {grid!r}")
        # Scratch memory, by Triton's convention behind the arguments; kernels that need any are not packed.
        values += [ctypes.c_uint64(0) for _ in range(entry["hidden_pointers"])]
        addresses = (ctypes.c_void_p * len(values))(*map(ctypes.addressof, values))
        block, shared = (32 * entry["n_warps"], 1, 1), entry["shared_bytes"]
        self._driver(
            "cuLaunchKernel", self._function, *grid, *block, shared,
            ctypes.c_void_p(stream), addresses, None,
        )  # fmt: skip


def _value(argument: dict[str, Any], value: float) -> Any:
    """``value`` as the kernel reads it; nothing is cut to size."""
    name, kind = argument["name"], argument["type"]
    integer = not kind.startswith("fp")
    if isinstance(value, bool) or not isinstance(value, int if integer else int | float):
        raise LaunchError(
            f"{name} must be {'an integer' if integer else 'a number'}, got {value!r}"
        )
    if integer and value % argument["multiple_of"]:
        raise LaunchError(
            f"{name} must be a multiple of {argument['multiple_of']} as when it was compiled, got {value}"
        )
    c_value = (ctypes.c_uint64 if kind.startswith("*") else C_TYPES[kind])(value)
    if integer and c_value.value != value:
        raise LaunchError(f"{name} must fit into {kind}, got {value}")
    return c_value


class _Driver:
    """The CUDA driver; every call that fails raises."""

    def __init__(self, library: str) -> None:
        try:
            self._library = ctypes.CDLL(library)
        except OSError as error:
            raise LaunchError(
                f"{library} is needed, the NVIDIA driver's library, and does not load: {error}"
            ) from error

    def __call__(self, name: str, *arguments: Any) -> None:
        code = getattr(self._library, name)(*arguments)
        if code:
            said = ctypes.c_char_p()
            self._library.cuGetErrorName(code, ctypes.byref(said))
            raise LaunchError(
                f"{name} failed: {(said.value or b'unknown error').decode()} ({code})"
            )

    def open(self, device: int) -> int:
        """Makes the device's primary context current, which torch uses too; returns 10 major + minor capability."""
        handle, context, found = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_int()
        self("cuInit", 0)
        self("cuDeviceGet", ctypes.byref(handle), device)
        capability = 0
        for attribute in (_CAPABILITY_MAJOR, _CAPABILITY_MINOR):
            self("cuDeviceGetAttribute", ctypes.byref(found), attribute, handle)
            capability = 10 * capability + found.value
        self("cuDevicePrimaryCtxRetain", ctypes.byref(context), handle)
        self("cuCtxSetCurrent", context)
        return capability

    def load(self, cubin: bytes, symbol: str) -> ctypes.c_void_p:
        """Returns the function ``symbol`` of ``cubin``, which the driver copies."""
        module, function = ctypes.c_void_p(), ctypes.c_void_p()
        self("cuModuleLoadData", ctypes.byref(module), cubin)
        self("cuModuleGetFunction", ctypes.byref(function), module, symbol.encode())
        return function
