"""A machine with a GPU and TensorRT, both made up; and the real TensorRT-RTX, which builds without one."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import tiny_bundle
from tests.tensorrt.fake_cuda import FakeCuda
from tests.tensorrt.fake_tensorrt import FakeTensorRT
from vadfast.runtime.engines.tensorrt import TensorRTEngine
from vadfast.runtime.tensorrt import gpu
from vadfast.runtime.tensorrt.library import Library, find_library


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


def forget() -> None:
    """What is found out once a process."""
    find_library.cache_clear()
    gpu.find_gpu.cache_clear()


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
    module = "tensorrt_rtx_bindings"
    trt = pytest.importorskip(module, reason="TensorRT-RTX is not installed (extra dev)")
    yield Library(trt, module, trt.__version__)
    forget()
