"""The forms that are exported compute what the layers do, and leave nothing of themselves behind."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.fusion.layers import CrissCrossAttention, small
from vadfast.compile.export import write_onnx
from vadfast.compile.graph_forms import graph_forms
from vadfast.layers import CrissCross, PrototypeUnit

WITH_A_FORM = ("criss-cross", "cosine", "ccnet", "ccnet without biases", "mmseg", "prototypes")


def _layer(kind: str, channels: int, recurrence: int) -> nn.Module:
    torch.manual_seed(recurrence)
    if kind == "prototypes":
        return PrototypeUnit(channels, n_prototypes=recurrence)
    layer = CrissCross(channels, affinity=kind, recurrence=recurrence, query_channels=3)
    nn.init.constant_(layer.gamma, 0.8)
    return layer


def _tensors(found: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return found if isinstance(found, tuple) else (found,)


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["dot", "cosine", "prototypes"]),
    recurrence=st.integers(1, 3),
    shape=st.tuples(*[st.integers(1, n) for n in (2, 9, 7, 8)]),
    scale=st.sampled_from([1e-2, 1.0, 30.0]),
)
def test_the_formula_is_the_layers(
    kind: str, recurrence: int, shape: tuple[int, int, int, int], scale: float
) -> None:
    layer = _layer(kind, shape[1], recurrence).double()
    x = scale * torch.randn(shape, dtype=torch.float64)
    if kind == "prototypes":
        x = nn.functional.normalize(x, dim=1)
    with torch.no_grad():
        plain = _tensors(layer(x))
        with graph_forms(layer):
            ours = _tensors(layer(x))
    for a, b in zip(ours, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("kind", ["dot", "prototypes"])
def test_no_less_exact_than_the_form_for_the_eye(kind: str) -> None:
    layer = _layer(kind, 32, 2)
    x = nn.functional.normalize(torch.randn(1, 32, 48, 40), dim=1)
    with torch.no_grad():
        exact = _tensors(layer.double()(x.double()))
        plain = _tensors(layer.float()(x))
        with graph_forms(layer):
            ours = _tensors(layer(x))
    for a, b, c in zip(ours, plain, exact, strict=True):
        assert (a - c).abs().max() <= 2 * (b - c).abs().max() + 1e-6


@pytest.mark.parametrize("name", WITH_A_FORM)
def test_what_is_exported_has_it(name: str, tmp_path: Path) -> None:
    model = small(name).eval()
    x = torch.randn(2, 3, 6, 5, generator=torch.Generator().manual_seed(0))
    write_onnx(model, x, tmp_path / "m.onnx", takes="x", returns=["y"])
    with torch.no_grad():
        wanted = model(x).numpy()
    assert not [m for m in model.modules() if "forward" in vars(m)]
    session = ort.InferenceSession(tmp_path / "m.onnx")
    np.testing.assert_allclose(session.run(None, {"x": x.numpy()})[0], wanted, atol=1e-5)
    kinds = {node.op_type for node in onnx.load(tmp_path / "m.onnx").graph.node}
    slow = {"GatherElements"} if name == "prototypes" else {"Concat", "Split", "Softmax"}
    assert not kinds & {"Einsum", *slow}


def test_a_layer_of_another_formula_stays_what_it_is() -> None:
    layer = CrissCrossAttention(8)
    layer.value_conv = nn.Conv2d(8, 8, 3, padding=1)
    with graph_forms(layer):
        assert "forward" not in vars(layer)


def test_an_error_within_leaves_the_layers_plain() -> None:
    layer = CrissCross(8)

    def stopped() -> None:
        with graph_forms(layer):
            assert "forward" in vars(layer)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        stopped()
    assert "forward" not in vars(layer)
