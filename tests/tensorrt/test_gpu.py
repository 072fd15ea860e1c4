"""Whether there is an NVIDIA GPU, and its name, as the driver says it: asked without CuPy."""

import ctypes
from types import SimpleNamespace
from typing import Any

import pytest

from vadfast.runtime.tensorrt.gpu import driver_refusal, gpu_capability, gpu_name


def _driver(monkeypatch: pytest.MonkeyPatch, *, n_gpus: int = 1, **statuses: int) -> None:
    """Stands in for libcuda.so.1; ``statuses`` are those of its calls, 0 where none is given."""

    def count(number: Any) -> int:
        number._obj.value = n_gpus
        return statuses.get("count", 0)

    def name(text: Any, length: int, device: Any) -> int:
        text.value = b"Made GPU"
        return statuses.get("name", 0)

    def attribute(number: Any, which: int, device: Any) -> int:
        number._obj.value = {75: 8, 76: 6}[which]
        return statuses.get(f"attribute_{which}", 0)

    driver = SimpleNamespace(
        cuInit=lambda flags: statuses.get("init", 0),
        cuDeviceGetCount=count,
        cuDeviceGet=lambda device, index: statuses.get("device", 0),
        cuDeviceGetName=name,
        cuDeviceGetAttribute=attribute,
    )
    monkeypatch.setattr(ctypes, "CDLL", lambda library: driver)


def test_a_gpu_has_its_name_and_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    _driver(monkeypatch)
    assert driver_refusal() is None
    assert gpu_name() == "Made GPU"
    assert gpu_capability() == "8.6"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"init": 100}, "the NVIDIA driver does not start (error 100 of cuInit)"),
        ({"n_gpus": 0}, "the NVIDIA driver shows no GPU (CUDA_VISIBLE_DEVICES may hide it)"),
        ({"count": 3}, "the NVIDIA driver shows no GPU (CUDA_VISIBLE_DEVICES may hide it)"),
    ],
)
def test_without_one_the_reason_is_said(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, int], said: str
) -> None:
    _driver(monkeypatch, **changes)
    assert driver_refusal() == said
    assert gpu_name() is None
    assert gpu_capability() is None


def test_no_driver_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(library: str) -> None:
        raise OSError(library)

    monkeypatch.setattr(ctypes, "CDLL", absent)
    assert driver_refusal() == "no NVIDIA driver"
    assert gpu_name() is None


@pytest.mark.parametrize("call", ["device", "name"])
def test_a_driver_that_does_not_tell_the_name_is_no_error(
    monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    _driver(monkeypatch, **{call: 1})
    assert driver_refusal() is None
    assert gpu_name() is None


@pytest.mark.parametrize("call", ["device", "attribute_75", "attribute_76"])
def test_a_driver_that_does_not_tell_the_kind_is_no_error(
    monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    _driver(monkeypatch, **{call: 1})
    assert gpu_capability() is None
