"""A machine with a GPU and TensorRT, both made up; and the real TensorRT-RTX, which builds without one."""

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests import tiny_bundle
from tests.tensorrt.fake_cuda import FakeCuda
from tests.tensorrt.fake_tensorrt import FakeTensorRT
from vadfast.runtime.engines.tensorrt import TensorRTEngine
from vadfast.runtime.tensorrt import gpu, plugins
from vadfast.runtime.tensorrt.library import Library, find_library

HERE = Path(__file__).parent
RTX = "tensorrt_rtx_bindings"
# Bindings of TensorRT on the ordinary package index, and the version in the names of the libraries that they want.
BINDINGS = {
    "tensorrt-cu12-bindings==10.3.0": 10,
    "tensorrt-cu13-bindings==10.16.1.11": 10,
    "tensorrt-cu13-bindings==11.4.0.106": 11,
}
Bindings = Callable[[str], tuple[Path, tuple[str, ...]]]


@dataclass
class Machine:
    """What the fakes saw, and the model that they run."""

    cuda: FakeCuda
    tensorrt: FakeTensorRT
    model: Path
    cache: Path

    def load(self, *, precision: str = "fp32", batch: int = 2) -> TensorRTEngine:
        """As a process that has just started: what was found before is looked for again."""
        forget()
        return TensorRTEngine.load(self.model, precision=precision, batch=batch)

    @property
    def kept(self) -> dict[str, Path]:
        """The files of the cache by suffix, hidden ones too."""
        return {p.suffix: p for p in self.cache.rglob("*") if p.is_file()}


def missing(reason: str) -> NoReturn:
    """Skips the test, where a user may lack what it wants; in CI, which has it, the test fails instead."""
    if os.environ.get("CI", "").lower() in ("", "0", "false"):
        pytest.skip(reason)
    pytest.fail(f"{reason}, and CI must have it")


def import_rtx() -> Any:
    """Returns the bindings of the real TensorRT-RTX; without them the test is skipped, or fails, as ``missing`` says."""
    try:
        return importlib.import_module(RTX)
    except ImportError as error:
        missing(f"TensorRT-RTX is not installed, extra dev ({error})")


def forget() -> None:
    """What is found out once a process."""
    find_library.cache_clear()
    gpu.find_gpu.cache_clear()
    plugins._register.cache_clear()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    cuda = FakeCuda()
    fake = FakeTensorRT(cuda, tiny_bundle.reference)
    monkeypatch.setitem(sys.modules, "cupy", cuda.module)
    monkeypatch.setitem(sys.modules, "tensorrt", fake.module)
    monkeypatch.setattr(gpu, "driver_refusal", lambda: None)
    monkeypatch.setenv("VADFAST_CACHE", str(tmp_path / "cache"))
    model = tmp_path / "model.onnx"
    tiny_bundle.write_model(model)
    yield Machine(cuda, fake, model, tmp_path / "cache" / "tensorrt")
    forget()


@pytest.fixture
def rtx() -> Iterator[Library]:
    """The real TensorRT-RTX."""
    trt = import_rtx()
    yield Library(trt, RTX, trt.__version__)
    forget()


@pytest.fixture(scope="session")
def bindings(tmp_path_factory: pytest.TempPathFactory) -> Bindings:
    """Installs one of ``BINDINGS``: its folder, and the empty libraries to load before it is imported."""

    @cache
    def install(requirement: str) -> tuple[Path, tuple[str, ...]]:
        if sys.platform != "linux" or shutil.which("cc") is None:
            missing("the empty library is compiled with cc, for Linux")
        folder = tmp_path_factory.mktemp("bindings")
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--only-binary", ":all:"]
        command = [*pip, "--target", str(folder), requirement]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            said = done.stderr.strip().splitlines()[-1]
            missing(f"{requirement} cannot be had here: {said}")
        libraries = []
        for name in ("nvinfer", "nvinfer_plugin", "nvonnxparser"):
            soname = f"lib{name}.so.{BINDINGS[requirement]}"
            libraries.append(str(folder / soname))
            flags = ["-shared", "-fPIC", "-Wall", "-Werror", f"-Wl,-soname,{soname}"]
            subprocess.run(["cc", *flags, str(HERE / "shim.c"), "-o", libraries[-1]], check=True)
        return folder, tuple(libraries)

    return install
