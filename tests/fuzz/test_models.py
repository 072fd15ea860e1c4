"""A model that a trusted key signed and no engine can run: refused in a sentence, without a crash and without its memory."""

import resource
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tests.fuzz.mutations import damaged
from tests.tiny_bundle import H, T, W, artefact, manifest_values, seal, write_model
from vadfast.errors import BundleError, VadfastError
from vadfast.runtime.bundle import open_bundle
from vadfast.runtime.engine import open_engine

BACKENDS = ("openvino", "onnxruntime")
WINDOW = (T, H, W, 3)


def _refused(bundle: Path, backend: str, values: dict[str, Any] | None = None) -> str:
    seal(bundle, values or manifest_values())
    with pytest.raises(VadfastError) as caught:
        open_engine(open_bundle(bundle), backend=backend, threads=1)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def _model(inputs: list[Any], nodes: list[Any], constants: dict[str, Any]) -> bytes:
    outputs = [
        helper.make_tensor_value_info("components", TensorProto.FLOAT, ["batch", 2]),
        helper.make_tensor_value_info("heatmap", TensorProto.FLOAT, ["batch", "h", "w"]),
    ]
    kept = [numpy_helper.from_array(np.array(v), name) for name, v in constants.items()]
    graph = helper.make_graph(nodes, "absurd", inputs, outputs, kept)
    opset = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()


def _frames(*sizes: Any) -> Any:
    return helper.make_tensor_value_info("frames", TensorProto.UINT8, ["batch", *sizes])


_NODE = helper.make_node
# What each gives for frames of any size: the sum of all, and a heat map of the stated size.
_SUM = [
    _NODE("Cast", ["frames"], ["f"], to=TensorProto.FLOAT),
    _NODE("ReduceSum", ["f", "all"], ["s"], keepdims=0),
]
ABSURD = {
    "more memory than there is": _model(
        [_frames(*WINDOW)],
        [*_SUM, _NODE("ConstantOfShape", ["big"], ["heatmap"]),
         _NODE("Expand", ["s", "two"], ["components"])],
        {"all": np.array([1, 2, 3, 4]), "big": np.array([1 << 20, 1 << 20, 1 << 10]), "two": np.array([1, 2])},
    ),
    "a size that overflows": _model(
        [_frames(*WINDOW)],
        [*_SUM, _NODE("Expand", ["s", "two"], ["components"]), _NODE("Reshape", ["f", "big"], ["heatmap"])],
        {"all": np.array([1, 2, 3, 4]), "big": np.array([1 << 62, 4, 1 << 62]), "two": np.array([1, 2])},
    ),
    "frames of 2 GB": _model(
        [_frames(T, 1 << 14, 1 << 14, 3)],
        [*_SUM, _NODE("Expand", ["s", "two"], ["components"]), _NODE("Expand", ["s", "one"], ["heatmap"])],
        {"all": np.array([1, 2, 3, 4]), "one": np.array([1, 1, 1]), "two": np.array([1, 2])},
    ),
    "no size at all": _model(
        [_frames(T, "height", "width", 3)],
        [*_SUM, _NODE("Expand", ["s", "two"], ["components"]), _NODE("Expand", ["s", "one"], ["heatmap"])],
        {"all": np.array([1, 2, 3, 4]), "one": np.array([1, 1, 1]), "two": np.array([1, 2])},
    ),
    "another input": _model(
        [helper.make_tensor_value_info("pictures", TensorProto.UINT8, ["batch", *WINDOW])],
        [_NODE("Cast", ["pictures"], ["heatmap"], to=TensorProto.FLOAT), _NODE("Identity", ["heatmap"], ["components"])],
        {},
    ),
    "two inputs": _model(
        [_frames(*WINDOW), helper.make_tensor_value_info("more", TensorProto.UINT8, [1])],
        [_NODE("Cast", ["frames"], ["heatmap"], to=TensorProto.FLOAT), _NODE("Identity", ["heatmap"], ["components"])],
        {},
    ),
    "a scalar": _model(
        [_frames(*WINDOW)],
        [_NODE("Cast", ["frames"], ["f"], to=TensorProto.FLOAT), _NODE("ReduceSum", ["f"], ["components"], keepdims=0),
         _NODE("Identity", ["components"], ["heatmap"])],
        {},
    ),
    "an operator that nobody has": _model(
        [_frames(*WINDOW)],
        [_NODE("Frobnicate", ["frames"], ["components"]), _NODE("Frobnicate", ["frames"], ["heatmap"])],
        {},
    ),
}  # fmt: skip


def _renamed(path: Path) -> None:
    write_model(path)
    model = onnx.load(path)
    for output in model.graph.output:
        for node in model.graph.node:
            node.output[:] = [f"x{n}" if n == output.name else n for n in node.output]
            node.input[:] = [f"x{n}" if n == output.name else n for n in node.input]
        output.name = f"x{output.name}"
    onnx.save(model, path)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ABSURD)
def test_absurd_models_are_refused(bundle: Path, backend: str, name: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kB
    (bundle / "model.onnx").write_bytes(ABSURD[name])
    assert backend in _refused(bundle, backend)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 1 << 20, f"{grown / 1024:.0f} MB"


@pytest.mark.parametrize("backend", BACKENDS)
def test_outputs_of_other_names_are_refused(bundle: Path, backend: str) -> None:
    _renamed(bundle / "model.onnx")
    assert backend in _refused(bundle, backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_model_of_another_size_than_the_manifest_is_refused(bundle: Path, backend: str) -> None:
    values = manifest_values(input={"n_frames": T, "height": H, "width": W + 4})
    np.save(bundle / "golden/frames.npy", np.zeros((3, T, H, W + 4, 3), np.uint8))
    assert "must run the golden windows, raised" in _refused(bundle, backend, values)


@pytest.mark.parametrize("batch", [0, -1, 1025, 2**31, 10**30])
def test_absurd_batches_are_refused_before_an_engine_is_asked(bundle: Path, batch: int) -> None:
    seal(bundle, manifest_values(artefacts=[artefact("onnxruntime", batch=batch)]))
    with pytest.raises(BundleError, match=r"artefacts\.0\.batch is wrong"):
        open_bundle(bundle)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
@pytest.mark.parametrize("backend", BACKENDS)
def test_any_damaged_model_is_run_or_refused(
    bundle: Path, pristine: Path, backend: str, data: st.DataObject
) -> None:
    whole = (pristine / "model.onnx").read_bytes()
    (bundle / "model.onnx").write_bytes(data.draw(damaged(whole)))
    seal(bundle, manifest_values())
    try:
        open_engine(open_bundle(bundle), backend=backend, threads=1).close()
    except VadfastError as error:
        assert backend in str(error)  # noqa: PT017 (it need not be raised)
