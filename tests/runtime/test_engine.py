"""Engines: both agree with the model computed by hand, and the choice between them can say why."""

import logging
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.tiny_bundle import H, T, W, artefact, make_bundle, manifest_values, reference, seal
from vadfast.compile.backends import mnn
from vadfast.errors import BackendError, BundleError, EngineMismatch
from vadfast.runtime import engine as engine_module
from vadfast.runtime.bundle import open_bundle
from vadfast.runtime.engine import load_artefact, n_cpus, open_engine, run_windows
from vadfast.runtime.engines.mnn import MNNEngine
from vadfast.runtime.engines.onnxruntime import ONNXRuntimeEngine
from vadfast.runtime.engines.openvino import OpenVINOEngine
from vadfast.runtime.manifest import Threads
from vadfast.runtime.selftest import check_golden

ENGINES = [OpenVINOEngine, ONNXRuntimeEngine, MNNEngine]
AnyEngine = type[OpenVINOEngine] | type[ONNXRuntimeEngine] | type[MNNEngine]


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "tiny.vad")


def _model(pristine: Path, kind: AnyEngine) -> Path:
    """The model as ``kind`` reads it."""
    if kind is not MNNEngine:
        return pristine / "model.onnx"
    converted = pristine.parent / "model.mnn"
    if not converted.exists():
        mnn.convert(pristine / "model.onnx", converted)
    return converted


@pytest.fixture
def bundle(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "tiny.vad"))


def _windows(n: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, T, H, W, 3), np.uint8)


@pytest.mark.parametrize("kind", ENGINES)
@pytest.mark.parametrize("batch", [1, 3])
def test_engine_equals_the_model_by_hand(pristine: Path, kind: AnyEngine, batch: int) -> None:
    engine = kind.load(_model(pristine, kind), precision="fp32", batch=batch, threads=1)
    frames = _windows(batch)
    outputs = engine(frames)
    components, heatmap = reference(frames)
    assert outputs.components.dtype == outputs.heatmap.dtype == np.float32
    np.testing.assert_allclose(outputs.components, components, atol=1e-6)
    np.testing.assert_allclose(outputs.heatmap, heatmap, atol=1e-6)
    assert (engine.backend, engine.precision, engine.batch) == (kind.backend, "fp32", batch)


@pytest.mark.parametrize("kind", ENGINES)
def test_outputs_are_copies_that_the_next_call_does_not_change(
    pristine: Path, kind: AnyEngine
) -> None:
    engine = kind.load(_model(pristine, kind), precision="fp32", batch=1)
    first = engine(_windows(1, seed=1))
    kept = first.components.copy(), first.heatmap.copy()
    engine(_windows(1, seed=2))
    engine.close()
    engine.close()
    assert np.array_equal(first.components, kept[0])
    assert np.array_equal(first.heatmap, kept[1])


@pytest.mark.parametrize("kind", ENGINES)
def test_frames_that_do_not_fit_are_refused(pristine: Path, kind: AnyEngine) -> None:
    engine = kind.load(_model(pristine, kind), precision="fp32", batch=2)
    with pytest.raises(ValueError, match=r"must be uint8 \[2, 5, 16, 24, 3\], got uint8 \[1,"):
        engine(_windows(1))
    with pytest.raises(ValueError, match="got float32"):
        engine(_windows(2).astype(np.float32))


@pytest.mark.parametrize("kind", ENGINES)
@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x07" * 50])
def test_a_model_that_is_none_is_a_backend_error(
    tmp_path: Path, kind: AnyEngine, content: bytes
) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(BackendError, match=r"cannot (compile|read) .*model\.onnx"):
        kind.load(tmp_path / "model.onnx", precision="fp32", batch=1)


@pytest.mark.parametrize(
    ("kind", "precision"),
    [(OpenVINOEngine, "fp16"), (ONNXRuntimeEngine, "bf16"), (MNNEngine, "bf16")],
)
def test_a_precision_runs_or_raises(pristine: Path, kind: AnyEngine, precision: str) -> None:
    with pytest.raises(BackendError, match=f"got '{precision}'"):
        kind.load(_model(pristine, kind), precision=precision, batch=1)


def test_openvino_runs_bf16_only_where_the_cpu_has_it(pristine: Path) -> None:
    import openvino

    from vadfast.runtime.engines.openvino import can_bf16

    if can_bf16(openvino.Core()):
        assert (
            OpenVINOEngine.load(pristine / "model.onnx", precision="bf16", batch=1).precision
            == "bf16"
        )
    else:
        with pytest.raises(BackendError, match="bf16 needs a CPU"):
            OpenVINOEngine.load(pristine / "model.onnx", precision="bf16", batch=1)


def test_auto_takes_the_first_and_says_so(bundle: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "vadfast"):
        assert open_engine(open_bundle(bundle)).backend == "openvino"
    assert caplog.messages == ["engine: openvino fp32, batch 1"]


def test_auto_says_why_an_earlier_one_was_refused(
    bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    artefacts = [artefact("openvino", needs=["no_such_cpu_flag"]), artefact("onnxruntime", batch=2)]
    seal(bundle, manifest_values(artefacts=artefacts))
    with caplog.at_level(logging.INFO, "vadfast"):
        engine = open_engine(open_bundle(bundle))
    assert (engine.backend, engine.batch) == ("onnxruntime", 2)
    assert "engine refused: openvino fp32: needs no_such_cpu_flag" in caplog.messages[0]


def test_a_named_backend_runs_or_raises(bundle: Path) -> None:
    assert open_engine(open_bundle(bundle), backend="onnxruntime").backend == "onnxruntime"
    with pytest.raises(BackendError, match=r"ships \(openvino, onnxruntime\), got 'tensorrt'"):
        open_engine(open_bundle(bundle), backend="tensorrt")
    seal(
        bundle,
        manifest_values(artefacts=[artefact("openvino", needs=["amx_x"]), artefact("onnxruntime")]),
    )
    with pytest.raises(BackendError, match=r"none of its engines can run .*needs amx_x"):
        open_engine(open_bundle(bundle), backend="openvino")


def test_a_backend_of_a_later_version_is_passed_over(bundle: Path) -> None:
    seal(bundle, manifest_values(artefacts=[artefact("quantum"), artefact("onnxruntime")]))
    assert open_engine(open_bundle(bundle)).backend == "onnxruntime"


def test_other_scores_than_sealed_stop_even_auto(bundle: Path) -> None:
    expected = np.load(bundle / "golden/components.npy")
    expected[0, 0] += 0.25
    np.save(bundle / "golden/components.npy", expected)
    seal(bundle, manifest_values())
    with pytest.raises(
        EngineMismatch, match=r"motion of the golden windows must be within 1e-05 1 .* off by 0\.25"
    ):
        open_engine(open_bundle(bundle))


def test_a_golden_value_that_is_no_number_never_passes(bundle: Path) -> None:
    expected = np.load(bundle / "golden/components.npy")
    expected[0, 1] = np.nan
    np.save(bundle / "golden/components.npy", expected)
    seal(bundle, manifest_values())
    with pytest.raises(EngineMismatch, match="brightness"):
        open_engine(open_bundle(bundle))


@pytest.mark.parametrize(
    ("name", "array", "sentence"),
    [
        ("golden/frames.npy", np.zeros((1, T, H, W + 1, 3), np.uint8), "must be uint8"),
        ("golden/frames.npy", np.zeros((0, T, H, W, 3), np.uint8), "must be uint8"),
        ("golden/components.npy", np.zeros((2, 2), np.float32), r"must be float32 \[3, 2\]"),
        (
            "golden/components.npy",
            np.array([{"pickled": 1}], object),
            "must be a NumPy array, cannot be read",
        ),
    ],
)
def test_golden_files_of_the_wrong_shape_are_named(
    bundle: Path, name: str, array: np.ndarray, sentence: str
) -> None:
    np.save(bundle / name, array)
    seal(bundle, manifest_values())
    with pytest.raises(BundleError, match=sentence):
        open_engine(open_bundle(bundle))


def test_a_component_without_tolerance_is_not_accepted(bundle: Path) -> None:
    seal(bundle, manifest_values(artefacts=[artefact("openvino", tolerance={"motion": 1.0})]))
    with pytest.raises(BundleError, match="no tolerance for component 'brightness'"):
        open_engine(open_bundle(bundle))


def test_golden_windows_that_do_not_fill_a_batch_are_padded_and_cut(bundle: Path) -> None:
    engine = OpenVINOEngine.load(bundle / "model.onnx", precision="fp32", batch=2)
    frames = _windows(5)
    got = np.concatenate([outputs.components for outputs in run_windows(engine, frames)])
    np.testing.assert_allclose(got, reference(frames)[0], atol=1e-6)
    opened = open_bundle(bundle)
    errors = check_golden(opened, engine, opened.manifest.artefacts[0])
    assert set(errors) == {"motion", "brightness"}
    assert max(errors.values()) < 1e-6


def test_bf16_is_a_cpu_feature_by_either_instruction_set(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    request.addfinalizer(engine_module.cpu_features.cache_clear)
    for text, expected in (
        ("processor: 0\nflags\t\t: sse avx2 amx_bf16\n", True),
        ("flags : avx512_bf16", True),
        ("Features : asimd bf16 i8mm", True),
        ("flags : avx2 avx512f", False),
        ("", False),
    ):
        monkeypatch.setattr(Path, "read_text", lambda *_, text=text, **__: text)
        engine_module.cpu_features.cache_clear()
        assert ("bf16" in engine_module.cpu_features()) is expected


def test_mnn_leaves_stdout_to_the_scores(pristine: Path) -> None:
    # Its import prints by C's stdio, which keeps what it prints to a pipe until the process ends.
    script = f"""
import os
from pathlib import Path
from vadfast.runtime.engines.mnn import MNNEngine
print("before")
engine = MNNEngine.load(Path({str(_model(pristine, MNNEngine))!r}), precision="fp32", batch=1)
print("after")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "before\nafter\n"


def test_ctrl_c_survives_openvino_engines_that_close_in_the_order_they_opened(
    pristine: Path,
) -> None:
    """Their plugin leaves a freed signal stack behind; faulthandler's stands in its way from the start."""
    program = f"""
import faulthandler, os, signal
from pathlib import Path
from vadfast.runtime.engines.openvino import OpenVINOEngine
faulthandler.enable()
model = Path({str(pristine / "model.onnx")!r})
first, second = (OpenVINOEngine.load(model, precision="fp32", batch=1) for _ in range(2))
first.close(); second.close()
try:
    os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "interrupted\n", (done.returncode, done.stderr)


@pytest.mark.parametrize(
    ("cpus", "asked", "told"),
    [
        (n_cpus(), None, {"threads": 3, "pinned": False}),
        (n_cpus(), 1, {"threads": 1, "pinned": False}),
        (n_cpus() + 1, None, {"threads": None}),  # measured on another machine
    ],
)
def test_threads_are_as_measured_where_that_holds(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, cpus: int, asked: int | None, told: dict
) -> None:
    found = {}

    class Engine:
        @staticmethod
        def load(path: Path, **options: object) -> None:
            found.update(options)

    monkeypatch.setattr(engine_module, "_engine_class", lambda _: Engine)
    opened = open_bundle(bundle)
    artefact = opened.manifest.artefacts[0]
    measured = artefact.model_copy(update={"threads": Threads(n=3, pinned=False, cpus=cpus)})
    load_artefact(opened, measured, asked)
    assert {k: v for k, v in found.items() if k in ("threads", "pinned")} == told
