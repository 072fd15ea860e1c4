"""A pack of two kernels for two architectures, and a driver that writes down what it is told."""

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def aot() -> Command:
    """Runs the command in a process of its own, because this one interprets kernels."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        ours = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
        ours |= {"PYTHONPATH": str(HERE.parents[1] / "kernels")} | environment
        command = [sys.executable, "-m", "vadfast_kernels.aot", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=ours)

    return run


@pytest.fixture(scope="session")
def pack_arguments() -> tuple[str, ...]:
    """The smallest launch there is, rows and columns, forward: pointers, integers and constants."""
    return ("-k", "criss_cross_fwd L9 D8 C16 fp16", "--arch", "80", "--arch", "90", "--json")


@pytest.fixture(scope="session")
def pack(
    aot: Command, pack_arguments: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("pack") / "kernels"
    done = aot(*pack_arguments, "--out", str(folder))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def stub_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("the stub driver is compiled with cc, which is not on this machine")
    library = tmp_path_factory.mktemp("stub") / "libstub.so"
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run([compiler, *flags, str(HERE / "stub_cuda.c"), "-o", str(library)], check=True)
    return library


class Stub:
    """The stub driver of ``stub_cuda.c``, as new."""

    def __init__(self, library: Path) -> None:
        self.path = str(library)
        self._library = ctypes.CDLL(self.path)
        self.set(capability=90, fail="", sizes=())
        self._buffer("stub_log", 65536).value = b""

    def set(self, *, capability: int = 90, fail: str = "", sizes: tuple[int, ...] = ()) -> None:
        ctypes.c_int.in_dll(self._library, "stub_capability").value = capability
        self._buffer("stub_fail", 64).value = fail.encode()
        ctypes.c_int.in_dll(self._library, "stub_n_sizes").value = len(sizes)
        (ctypes.c_int * 256).in_dll(self._library, "stub_sizes")[: len(sizes)] = sizes

    def log(self) -> list[str]:
        return self._buffer("stub_log", 65536).value.decode().splitlines()

    def _buffer(self, name: str, size: int) -> ctypes.Array[ctypes.c_char]:
        return (ctypes.c_char * size).in_dll(self._library, name)


@pytest.fixture
def stub(stub_library: Path) -> Stub:
    return Stub(stub_library)
