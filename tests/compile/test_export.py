"""The exported file: any batch, weights inside, the same numbers in both runtimes, and clear refusals."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

import tests.compile.tiny
from tests.compile.tiny import SPEC, TinyScorer
from vadfast.compile.export import export_onnx
from vadfast.errors import BuildError
from vadfast.models.eager import EagerEngine
from vadfast.runtime.engines.onnxruntime import ONNXRuntimeEngine
from vadfast.runtime.engines.openvino import OpenVINOEngine


@pytest.fixture(scope="module")
def model_onnx(scorer: TinyScorer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    assert export_onnx(scorer, SPEC, path) == (2, 3)
    return path


def test_one_file_with_a_symbolic_batch_and_a_cast_first(model_onnx: Path) -> None:
    assert [p.name for p in model_onnx.parent.iterdir()] == ["model.onnx"]  # no external weights
    graph = onnx.load(model_onnx).graph
    frames = graph.input[0].type.tensor_type
    assert graph.input[0].name == "frames"
    assert frames.elem_type == onnx.TensorProto.UINT8
    assert frames.shape.dim[0].dim_param
    assert [d.dim_value for d in frames.shape.dim[1:]] == [3, 16, 24, 3]
    assert [o.name for o in graph.output] == ["components", "heatmap"]
    users = [node for node in graph.node if "frames" in node.input]
    # TensorRT takes no other operation on uint8.
    assert [node.op_type for node in users] == ["Cast"]


@pytest.mark.parametrize("engine_class", [ONNXRuntimeEngine, OpenVINOEngine])
@pytest.mark.parametrize("batch", [1, 3])
def test_engines_agree_with_eager(
    engine_class: type[ONNXRuntimeEngine] | type[OpenVINOEngine],
    batch: int,
    model_onnx: Path,
    scorer: TinyScorer,
) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (batch, 3, 16, 24, 3), dtype=np.uint8)
    wanted = EagerEngine(scorer, SPEC, batch=batch)(frames)
    got = engine_class.load(model_onnx, precision="fp32", batch=batch)(frames)
    np.testing.assert_allclose(got.components, wanted.components, atol=1e-4)
    np.testing.assert_allclose(got.heatmap, wanted.heatmap, atol=1e-6)


def test_the_file_holds_no_path_of_the_machine_that_exported_it(model_onnx: Path) -> None:
    content = model_onnx.read_bytes()
    for module in (torch, tests.compile.tiny):
        assert str(Path(module.__file__).parent).encode() not in content
    assert b".py" not in content


def test_export_prints_nothing_on_stdout(
    scorer: TinyScorer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    export_onnx(scorer, SPEC, tmp_path / "model.onnx")
    assert capfd.readouterr().out == ""


class _Wrong(nn.Module):
    def __init__(self, components: Tensor) -> None:
        super().__init__()
        self.components = components

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        return self.components, torch.zeros(len(frames), 2, 3)


@pytest.mark.parametrize(
    ("components", "words"),
    [
        (torch.zeros(2), r"must return float32 components \[2, K\].*got torch.float32 \[2\]"),
        (torch.zeros(2, 1, dtype=torch.float64), "got torch.float64"),
        (torch.full((2, 1), torch.nan), "finite"),
    ],
)
def test_a_wrong_scorer_is_refused_in_words(components: Tensor, words: str, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=words):
        export_onnx(_Wrong(components), SPEC, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_eager_takes_read_only_frames_and_keeps_none_of_them(scorer: TinyScorer) -> None:
    frames = np.zeros((1, 3, 16, 24, 3), np.uint8)
    frames.flags.writeable = False
    outputs = EagerEngine(scorer, SPEC)(frames)
    assert outputs.components.dtype == outputs.heatmap.dtype == np.float32
    with pytest.raises(ValueError, match="frames must be uint8"):
        EagerEngine(scorer, SPEC)(np.zeros((2, 3, 16, 24, 3), np.uint8))
