"""An engine that runs for months: what a call takes it gives back, so the process stays as large as after its first calls."""

import gc
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.tiny_bundle import H, T, W, make_bundle
from vadfast.compile.backends import mnn
from vadfast.runtime.engines.mnn import MNNEngine
from vadfast.runtime.engines.onnxruntime import ONNXRuntimeEngine
from vadfast.runtime.engines.openvino import OpenVINOEngine

_WARM_UP, _CALLS = 300, 4000
_CALL_BYTES = T * H * W * 3  # of frames; the engines' own buffers are larger


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _grown_by(call: Callable[[], object]) -> int:
    """How many bytes the process grew by in ``_CALLS`` calls, after some to warm up."""
    for _ in range(_WARM_UP):
        call()
    gc.collect()
    before = _resident_bytes()
    for _ in range(_CALLS):
        call()
    gc.collect()
    return _resident_bytes() - before


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "tiny.vad") / "model.onnx"


@pytest.mark.parametrize("kind", [OpenVINOEngine, ONNXRuntimeEngine, MNNEngine])
def test_calls_leave_nothing_behind(
    model: Path, tmp_path: Path, kind: type[OpenVINOEngine | ONNXRuntimeEngine | MNNEngine]
) -> None:
    if kind is MNNEngine:
        mnn.convert(model, tmp_path / "model.mnn")
        model = tmp_path / "model.mnn"
    engine = kind.load(model, precision="fp32", batch=1, threads=1)
    frames = np.random.default_rng(0).integers(0, 256, (1, T, H, W, 3), np.uint8)
    try:
        # A quarter of what the frames alone would be, were each call's kept.
        assert _grown_by(lambda: engine(frames)) < _CALLS * _CALL_BYTES // 4
    finally:
        engine.close()


def test_the_measure_sees_a_leak() -> None:
    kept: list[bytes] = []
    assert _grown_by(lambda: kept.append(os.urandom(_CALL_BYTES))) > _CALLS * _CALL_BYTES // 4


@pytest.mark.parametrize("kind", [OpenVINOEngine, ONNXRuntimeEngine, MNNEngine])
def test_a_call_makes_no_copy_of_its_frames(
    model: Path, tmp_path: Path, kind: type[OpenVINOEngine | ONNXRuntimeEngine | MNNEngine]
) -> None:
    """What NumPy allocates in a call is the results, which are the caller's."""
    if kind is MNNEngine:
        mnn.convert(model, tmp_path / "model.mnn")
        model = tmp_path / "model.mnn"
    batch = 64
    engine = kind.load(model, precision="fp32", batch=batch, threads=1)
    frames = np.random.default_rng(0).integers(0, 256, (batch, T, H, W, 3), np.uint8)
    strided = np.ascontiguousarray(np.swapaxes(frames, 2, 3)).swapaxes(2, 3)
    try:
        outputs = engine(frames)
        results = outputs.components.nbytes + outputs.heatmap.nbytes
        assert _peak_bytes(lambda: engine(frames)) < results + 20_000 < frames.nbytes // 4
        # The measure sees a copy, where one cannot be helped; MNN's goes into its own memory.
        assert kind is MNNEngine or _peak_bytes(lambda: engine(strided)) > frames.nbytes
    finally:
        engine.close()


def _peak_bytes(call: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
