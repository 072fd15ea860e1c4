"""The engine against a TensorRT and a CuPy that are made up: what it computes, keeps, allocates, and says when something is wrong."""

import gc
import logging
import sys
from pathlib import Path

import numpy as np
import pytest

from tests import tiny_bundle
from tests.tensorrt.conftest import Machine
from tests.tensorrt.scores import assert_scores, windows
from vadfast.errors import BackendError, EngineMismatch
from vadfast.runtime.bundle import open_bundle
from vadfast.runtime.engine import open_engine
from vadfast.runtime.tensorrt import gpu
from vadfast.runtime.tensorrt.builder import WORKSPACE_BYTES


def test_it_gives_what_the_engine_computes_and_each_result_is_the_callers(machine: Machine) -> None:
    engine = machine.load()
    assert (engine.backend, engine.precision, engine.batch) == ("tensorrt", "fp32", 2)
    first = engine(windows(2))
    kept = first.components.copy()
    assert_scores(engine, seed=1)
    np.testing.assert_array_equal(first.components, kept)
    with pytest.raises(
        ValueError, match=r"frames must be uint8 \[2, 5, 16, 24, 3\], got uint8 \[1,"
    ):
        engine(windows(1))


def test_float32_is_float32_and_scratch_memory_has_a_limit(machine: Machine) -> None:
    machine.load()
    assert machine.tensorrt.flags == {"WORKSPACE": WORKSPACE_BYTES, "TF32": False}


def test_after_the_first_call_nothing_is_allocated_and_a_call_is_one_graph(
    machine: Machine,
) -> None:
    engine = machine.load()
    allocated, executed = machine.cuda.n_allocated, machine.tensorrt.n_executed
    launched = machine.cuda.n_graph_launches
    for seed in range(20):
        assert_scores(engine, seed=seed)
    assert machine.cuda.n_allocated == allocated == 6  # three tensors, on the GPU and pinned
    assert machine.tensorrt.n_executed == executed == 2  # once to load kernels, once to capture
    assert machine.cuda.n_graph_launches == launched + 20


def test_close_gives_all_memory_back_and_twice_is_harmless(machine: Machine) -> None:
    engine = machine.load()
    assert machine.cuda.n_live == 6
    engine.close()
    engine.close()
    gc.collect()
    assert machine.cuda.n_live == 0


def test_without_a_graph_it_runs_and_says_so(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    machine.cuda.can_capture = False
    assert_scores(machine.load())
    assert [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING] == [
        "tensorrt: runs without a CUDA graph, so each call queues its work anew: cudaErrorStreamCaptureInvalidated"
    ]
    assert machine.cuda.n_graph_launches == 0


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("builder", r"TensorRT 11.4.0 cannot build an engine of .*model.onnx: Cuda Runtime \(out of memory\); --backend"),
        ("context", r"cannot prepare the engine: Cuda Runtime \(out of memory\); the GPU may be out of memory"),
        ("buffers", r"the GPU is out of memory \(100 of 8000 MB are free\); end what else uses it"),
        ("execute", r"TensorRT 11.4.0 cannot execute the engine: no reason given"),
        ("model", r"TensorRT 11.4.0 cannot read .*model.onnx: In node 3: unsupported; compile the run again"),
    ],
)  # fmt: skip
def test_what_fails_is_one_sentence(machine: Machine, fault: str, words: str) -> None:
    if fault == "buffers":
        machine.cuda.room = 16
    elif fault == "execute":
        machine.tensorrt.executes = False
    elif fault == "model":
        machine.model.write_bytes(b"no model")
    else:
        machine.tensorrt.without_memory = fault
    with pytest.raises(BackendError, match=words):
        machine.load()


_NULL = r"pybind11::init\(\): factory function returned nullptr"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Builder", f"gives no builder: {_NULL}"),
        ("OnnxParser", f"gives no parser: {_NULL}"),
        ("Runtime", f"gives no runtime: {_NULL}"),
        ("Network", "gives no network: no reason given"),
        ("Config", "gives no configuration: no reason given"),
    ],
)
def test_a_library_that_gives_nothing_is_a_sentence(
    machine: Machine, name: str, words: str
) -> None:
    """As the bindings do where the library is of another version: TypeError, or None."""
    machine.tensorrt.gives_no = name
    with pytest.raises(
        BackendError, match=rf"^TensorRT 11.4.0 does not start, it {words}; check the driver"
    ):
        machine.load()


def test_memory_that_is_not_taken_is_a_sentence(machine: Machine) -> None:
    machine.tensorrt.takes_addresses = False
    with pytest.raises(
        BackendError,
        match=r"does not take the memory for \w+ \[2, .*\]: no reason given; take another --backend",
    ):
        machine.load()
    gc.collect()
    assert machine.cuda.n_live == 0


def test_auto_passes_over_a_library_that_does_not_start(
    machine: Machine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    machine.tensorrt.gives_no = "Runtime"
    ways = [tiny_bundle.artefact(name) for name in ("tensorrt", "onnxruntime")]
    bundle = open_bundle(tiny_bundle.make_bundle(tmp_path / "a.vad", artefacts=ways))
    assert open_engine(bundle).backend == "onnxruntime"
    assert "engine refused: tensorrt fp32: TensorRT 11.4.0 does not start" in caplog.text


def test_a_gpu_that_fails_in_a_call_is_a_sentence(machine: Machine) -> None:
    machine.cuda.can_capture = False
    engine = machine.load()
    machine.tensorrt.executes = False
    with pytest.raises(BackendError, match="cannot execute the engine"):
        engine(windows(2))


@pytest.mark.parametrize("fault", ["zeros", "nothing"])
def test_the_golden_windows_catch_an_engine_that_returns_nothing(
    machine: Machine, tmp_path: Path, fault: str
) -> None:
    bundle = open_bundle(
        tiny_bundle.make_bundle(tmp_path / "a.vad", artefacts=[tiny_bundle.artefact("tensorrt")])
    )
    open_engine(bundle).close()
    if fault == "zeros":
        machine.tensorrt.function = lambda frames: (np.zeros((1, 2)), np.zeros((1, 4, 6)))
    else:
        machine.tensorrt.writes = False  # the status is success all the same
    with pytest.raises(EngineMismatch, match="of the golden windows must be within"):
        open_engine(bundle)


def test_an_engine_that_writes_nothing_gives_no_number_rather_than_the_last(
    machine: Machine,
) -> None:
    engine = machine.load()
    assert_scores(engine)
    machine.tensorrt.writes = False
    outputs = engine(windows(2))
    assert np.isnan(outputs.components).all()
    assert np.isnan(outputs.heatmap).all()


@pytest.mark.parametrize(
    ("absent", "words"),
    [
        ("driver", r"^cannot run here: no NVIDIA driver$"),
        ("cupy", r"^needs CuPy, which cannot be imported .*; pip install cupy-cuda13x"),
        ("tensorrt", r"^needs TensorRT: none of tensorrt, .* is installed; pip install 'vadfast\[tensorrt\]'"),
    ],
)  # fmt: skip
def test_what_is_missing_is_named_with_its_remedy(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, absent: str, words: str
) -> None:
    if absent == "driver":
        monkeypatch.setattr(gpu, "driver_refusal", lambda: "no NVIDIA driver")
    elif absent == "cupy":
        monkeypatch.setitem(sys.modules, "cupy", None)
    else:
        for module in ("tensorrt", "tensorrt_bindings", "tensorrt_rtx", "tensorrt_rtx_bindings"):
            monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BackendError, match=words):
        machine.load()


def test_a_binding_without_its_library_is_said_to_be_broken(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for module in ("tensorrt", "tensorrt_bindings", "tensorrt_rtx", "tensorrt_rtx_bindings"):
        monkeypatch.delitem(sys.modules, module, raising=False)
        text = "raise ImportError('libnvinfer.so.11: cannot open shared object file')"
        (tmp_path / f"{module}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        BackendError,
        match=r"tensorrt is installed and cannot be imported \(libnvinfer.so.11: cannot",
    ):
        machine.load()


def test_a_precision_that_it_has_not_is_refused(machine: Machine) -> None:
    with pytest.raises(
        BackendError, match=r"precision must be one of fp32, fp16, int8, got 'bf16'"
    ):
        machine.load(precision="bf16")
