"""The model in float16: its network is, its score is not, and what it gives stays within the bounds."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from tests.compile.tiny import SPEC, TinyScorer, film
from vadfast.compile.export import export_onnx
from vadfast.compile.gate import BOUNDS
from vadfast.compile.half import write_half
from vadfast.errors import BackendError

HALF, FLOAT = TensorProto.FLOAT16, TensorProto.FLOAT


class Attending(TinyScorer):
    """The tiny scorer with a resize between two products, and with what float16 must leave alone there: a norm, a softmax, a square."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.gain, self.finer = (nn.Conv2d(6, 6, 1) for _ in range(3))

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        clip = frames.float().permute(0, 1, 4, 2, 3) / 127.5 - 1
        x = self.query(clip[:, :-1].flatten(1, 2))
        x = self.finer(nn.functional.interpolate(x, scale_factor=2.0))[:, :, ::2, ::2]
        x = x * self.gain(x * x).sigmoid()
        x = x / (x * x).sum(dim=1, keepdim=True).sqrt().clamp_min(1e-6)
        x = nn.functional.interpolate(x, scale_factor=2.0, mode="bilinear")[:, :, ::2, ::2]
        flat = x.flatten(2)
        x = (flat @ (flat.mT @ flat).softmax(dim=-1)).view(x.shape)
        error = ((self.net(x) - clip[:, -1]) / 2).square()
        psnr = -10 * torch.log10(error.mean(dim=(1, 2, 3)).clamp_min(1e-10))
        return psnr[:, None], nn.functional.avg_pool2d(error.mean(dim=1, keepdim=True), 8)[:, 0]


@pytest.fixture(scope="module", params=[TinyScorer, Attending])
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("half")
    torch.manual_seed(0)
    export_onnx(request.param().eval(), SPEC, folder / "model.onnx")
    write_half(folder / "model.onnx", folder / "artefacts" / "model.fp16.onnx")
    return folder / "model.onnx", folder / "artefacts" / "model.fp16.onnx"


def _types(graph: onnx.GraphProto) -> dict[str, int]:
    values = (*graph.input, *graph.value_info, *graph.output)
    return {v.name: v.type.tensor_type.elem_type for v in values} | {
        w.name: w.data_type for w in graph.initializer
    }


def test_products_are_in_float16_and_the_score_is_not(pair: tuple[Path, Path]) -> None:
    graph = onnx.shape_inference.infer_shapes(onnx.load(pair[1]), strict_mode=True).graph
    types = _types(graph)
    for node in graph.node:
        if node.op_type in ("Conv", "MatMul", "Einsum"):
            assert {types[name] for name in (*node.input, *node.output)} == {HALF}, node.op_type
        if node.op_type in ("Log", "Pow", "ReduceMean", "ReduceSum", "Softmax", "Sqrt", "Tanh"):
            assert types[node.output[0]] == FLOAT, node.op_type
        if node.op_type == "Relu":
            assert types[node.output[0]] == HALF
        if node.op_type == "Resize":
            assert types[node.input[2]] == FLOAT, "scales"
    resized = {types[n.output[0]] for n in graph.node if n.op_type == "Resize"}
    assert resized in (set(), {HALF, FLOAT}), "one between two products, one behind a norm"
    # One leads to a product, one to a sum.
    squares = [n for n in graph.node if n.op_type == "Mul" and n.input[0] == n.input[1]]
    assert [types[n.output[0]] for n in squares] in ([], [FLOAT, FLOAT])
    assert [types[name] for name in ("frames", "components", "heatmap")] == [
        TensorProto.UINT8,
        FLOAT,
        FLOAT,
    ]
    (first,) = [n for n in graph.node if "frames" in n.input and n.op_type != "Shape"]
    assert (first.op_type, types[first.output[0]]) == ("Cast", FLOAT)
    weights = [
        w for w in graph.initializer if w.data_type == FLOAT and numpy_helper.to_array(w).ndim > 1
    ]
    assert weights == []  # none is there twice
    assert pair[1].stat().st_size < pair[0].stat().st_size


def test_its_scores_are_within_the_bounds(pair: tuple[Path, Path]) -> None:
    images = film(20, seed=0)
    frames = np.stack([images[i : i + SPEC.n_frames] for i in range(16)])
    options = onnxruntime.SessionOptions()
    # With them it would compute in float32 what lies between two casts.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    wanted, found = (
        onnxruntime.InferenceSession(str(p), options).run(None, {"frames": frames}) for p in pair
    )
    bounds = BOUNDS["fp16"]
    error = np.abs(found[0] - wanted[0]).max()
    assert 0 < error < bounds.score_error["dB"]
    assert np.abs(found[1] - wanted[1]).max() < bounds.heatmap * wanted[1].max()


def _conv(path: Path, weight: float, *, branches: bool = False) -> None:
    weights = numpy_helper.from_array(np.full((1, 1, 1, 1), weight, np.float32), "w")
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"])]
    outputs = [helper.make_tensor_value_info("y", FLOAT, [1, 1, 2, 2])]
    if branches:
        bodies = [
            helper.make_graph([helper.make_node("Identity", ["y"], [n])], n, [], [helper.make_tensor_value_info(n, FLOAT, [1, 1, 2, 2])])
            for n in ("a", "b")
        ]  # fmt: skip
        nodes.append(
            helper.make_node("If", ["c"], ["z"], then_branch=bodies[0], else_branch=bodies[1])
        )
        outputs = [helper.make_tensor_value_info("z", FLOAT, [1, 1, 2, 2])]
    inputs = [
        helper.make_tensor_value_info("x", FLOAT, [1, 1, 2, 2]),
        helper.make_tensor_value_info("c", TensorProto.BOOL, []),
    ]
    graph = helper.make_graph(nodes, "g", inputs, outputs, [weights])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path
    )


def test_what_float16_cannot_hold_is_refused(tmp_path: Path) -> None:
    _conv(tmp_path / "a.onnx", 1e5)
    with pytest.raises(
        BackendError, match=r"weight w must lie within float16's 65504, its largest is 1e\+05"
    ):
        write_half(tmp_path / "a.onnx", tmp_path / "b.onnx")
    _conv(tmp_path / "a.onnx", 1.0, branches=True)
    with pytest.raises(BackendError, match=r"a.onnx must be one graph without branches"):
        write_half(tmp_path / "a.onnx", tmp_path / "b.onnx")
    assert not (tmp_path / "b.onnx").exists()
