"""What the stand-in of CuPy has, CuPy has: every name that the TensorRT path takes from it, in the real package; it needs no GPU for that."""

import inspect
from types import SimpleNamespace
from typing import Any

import pytest

from tests.tensorrt.fake_cuda import FakeCuda

cupy = pytest.importorskip("cupy", reason="CuPy is not installed (pip install cupy-cuda13x)")


def _names(stand_in: Any) -> list[str]:
    return [name for name in vars(stand_in) if not name.startswith("_")]


def test_every_name_of_the_stand_in_is_cupys() -> None:
    fake = FakeCuda().module
    # What a stream has from its making on; this one is made without a GPU, of the same base.
    stream = cupy.cuda.ExternalStream(5, 0)
    for name in _names(fake.cuda):
        real = getattr(cupy.cuda, name)
        mine = getattr(fake.cuda, name)
        if inspect.isclass(mine) or isinstance(mine, SimpleNamespace):
            for part in _names(mine):
                has = hasattr(real, part) or (name == "Stream" and hasattr(stream, part))
                assert has, f"cupy.cuda.{name}.{part}"
        assert callable(real) == callable(mine), name
    assert hasattr(cupy.cuda.Graph, "launch")  # what ends a capture
    assert hasattr(cupy.cuda.Memory, "ptr")
    assert hasattr(cupy.cuda.PinnedMemoryPointer, "ptr")
    kinds = ("memcpyHostToDevice", "memcpyDeviceToHost")
    assert [getattr(cupy.cuda.runtime, kind) for kind in kinds] == [1, 2]
    assert issubclass(cupy.cuda.runtime.CUDARuntimeError, RuntimeError)
