"""8 bits: what is quantised and what not, and that a layer which breaks the gate is found, named and kept in float."""

import collections
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from tests.compile.tiny import CARD, SPEC, TinyScorer
from vadfast.compile.answers import Scored, score_runs
from vadfast.compile.backends import INT8_MODEL, Precision, Workshop
from vadfast.compile.export import export_onnx
from vadfast.compile.gate import judge
from vadfast.compile.int8 import Int8, make_int8
from vadfast.compile.quantise import Quantiser
from vadfast.compile.report import int8_words
from vadfast.compile.windows import Run
from vadfast.errors import BackendError
from vadfast.models.eager import EagerEngine
from vadfast.progress import steps
from vadfast.runtime.engine import Engine
from vadfast.runtime.engines.onnxruntime import ONNXRuntimeEngine


class Simulated:
    """ONNX Runtime without its optimisations: rounds as the model says on any CPU, also one without 8-bit products."""

    name = "onnxruntime"
    precisions: tuple[Precision, ...] = ("int8",)
    packages = ("onnxruntime",)

    def path(self, precision: Precision) -> str:
        return INT8_MODEL

    def can_run(self, precision: Precision) -> str | None:
        return None

    def build(self, workshop: Workshop, precision: Precision, batch: int) -> Engine:
        return _simulated(workshop.folder / INT8_MODEL)


def _simulated(path: Path) -> ONNXRuntimeEngine:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options)
    return ONNXRuntimeEngine(session, (1, SPEC.n_frames, SPEC.height, SPEC.width, 3), "int8")


class Rough(TinyScorer):
    """Its third layer takes values of which one channel is a thousand times the others: 8 bits lose these."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(6, 8, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, 3, 3, padding=1),
            nn.Tanh(),
        )
        second, third = self.net[2], self.net[4]
        assert isinstance(second, nn.Conv2d)
        assert isinstance(third, nn.Conv2d)
        with torch.no_grad():
            second.weight[0] = 1000 * second.weight[0].abs()
            third.weight[:, 0] /= 1e6


class Skip(TinyScorer):
    """A network with a concatenation, as in every U-Net."""

    def __init__(self) -> None:
        super().__init__()
        self.net = _Skip()


class _Skip(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(6, 6, 3, padding=1)
        self.a = nn.Conv2d(6, 8, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(8, 8, 2, stride=2)
        self.b = nn.Conv2d(14, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu()
        return self.b(torch.cat([x, self.up(self.a(x).relu())], dim=1)).tanh()


def _exported(scorer: nn.Module, folder: Path) -> Path:
    export_onnx(scorer, SPEC, folder / "model.onnx")
    return folder / "model.onnx"


def _windows(runs: list[Run]) -> list[Any]:
    return list(itertools.chain.from_iterable(run.windows() for run in runs))


def _made(scorer: nn.Module, runs: list[Run], folder: Path) -> tuple[Int8, Scored]:
    torch.manual_seed(0)
    _exported(scorer, folder)
    engine = EagerEngine(scorer, SPEC)
    with steps("eager", 100) as bar:
        truth = score_runs(engine, runs, bar)
    workshop = Workshop(scorer, SPEC, None, folder)
    return make_int8(workshop, Simulated(), "int8", runs, truth, CARD), truth


def test_a_layer_that_breaks_the_gate_is_kept_in_float_and_named(
    runs: list[Run], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    found, truth = _made(Rough(), runs, tmp_path)
    assert (found.n_layers, found.kept, found.refused) == (2, ("net.4",), "")
    assert found.judged_by == ("onnxruntime", "int8", 1)
    assert (
        int8_words({"n_layers": 2, "kept": ["net.4"], "refused": ""})
        == "int8: 1 of 2 convolutions; the gate keeps in float: net.4"
    )
    engine = _simulated(tmp_path / INT8_MODEL)
    with steps("gate", 100) as bar:
        scored = score_runs(engine, runs, bar)
    verdict = judge(scored, truth, runs, CARD, "int8")
    assert verdict.faults == ()
    assert verdict.max_score_error is not None
    assert verdict.max_score_error > 0, "a layer is in 8 bits"
    Quantiser.calibrate(tmp_path / "model.onnx", _windows(runs), tmp_path).write(tmp_path / "all")
    with steps("gate", 100) as bar:
        all_of_it = score_runs(_simulated(tmp_path / "all"), runs, bar)
    assert judge(all_of_it, truth, runs, CARD, "int8").faults, "the test has a point"


def test_a_gate_that_lets_nothing_through_is_said(
    runs: list[Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vadfast.compile.int8.layers_in_float", lambda *_: None)
    found, _ = _made(Rough(), runs, tmp_path)
    assert found.refused == "the gate keeps all 2 layers out of 8 bits"
    assert int8_words({"n_layers": 2, "kept": [], "refused": found.refused}).startswith(
        "int8: none"
    )


@pytest.mark.parametrize("symmetric", [False, True])
def test_inputs_and_weights_of_convolutions_are_quantised_and_nothing_else(
    runs: list[Run], tmp_path: Path, symmetric: bool
) -> None:
    quantiser = Quantiser.calibrate(
        _exported(Skip(), tmp_path), _windows(runs)[:8], tmp_path, symmetric=symmetric
    )
    assert quantiser.layers == ("net.a", "net.up", "net.b")
    quantiser.write(tmp_path / "q.onnx", kept=("net.up",))
    graph = onnx.load(tmp_path / "q.onnx").graph
    made_by = {name: node for node in graph.node for name in node.output}
    kinds = {
        "net." + name: [made_by[i].op_type if i in made_by else "" for i in node.input[:2]]
        for node in graph.node
        if node.op_type in ("Conv", "ConvTranspose")
        for name in ("first", "a", "up", "b")
        if any(f"net.{name}." in i for i in node.input)
    }
    assert kinds["net.a"] == kinds["net.b"] == ["DequantizeLinear"] * 2
    assert kinds["net.up"] == ["Relu", ""]
    assert kinds["net.first"] == ["Reshape", ""], "pixels are not in 8 bits twice"
    concat = next(node for node in graph.node if node.op_type == "Concat")
    assert made_by[concat.input[1]].op_type == "ConvTranspose", "what a layer gives is in float"
    readers = [node for node in graph.node if concat.output[0] in node.input]
    assert [node.op_type for node in readers] == ["QuantizeLinear"], "one scale behind the two"
    types = collections.Counter(
        onnx.TensorProto.DataType.Name(t.data_type) for t in graph.initializer
    )
    assert types["UINT8"] == 0 if symmetric else types["UINT8"] > 0
    assert types["INT32"] == 0 if symmetric else types["INT32"] > 0, "biases"


def test_answers_are_those_of_eight_bits(runs: list[Run], tmp_path: Path) -> None:
    torch.manual_seed(1)
    scorer = Skip()
    quantiser = Quantiser.calibrate(_exported(scorer, tmp_path), _windows(runs), tmp_path)
    quantiser.write(tmp_path / "q.onnx")
    quantiser.write(tmp_path / "none.onnx", kept=quantiser.layers)
    eager = EagerEngine(scorer, SPEC)
    off, none = (
        max(
            float(np.abs(_simulated(tmp_path / name)(w).components - eager(w).components).max())
            for w in _windows(runs)[::5]
        )
        for name in ("q.onnx", "none.onnx")
    )
    assert 1e-4 < off < 0.2, "dB: rounding is seen, and less than the gate's 0.25"
    assert none < 1e-5, "dB: float32 in another order"


def test_a_model_without_convolutions_is_refused(runs: list[Run], tmp_path: Path) -> None:
    scorer = TinyScorer()
    scorer.net = nn.Sequential(nn.AvgPool2d(1))
    scorer.net.forward = lambda x: x[:, :3]  # type: ignore[method-assign]
    with pytest.raises(BackendError, match="no convolution"):
        Quantiser.calibrate(_exported(scorer, tmp_path), _windows(runs)[:1], tmp_path)
