"""Criss-cross attention in an exported graph: found whole or not at all, and what stands there instead computes the same."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper

from tests.compile.tiny import SPEC, TinyScorer, film
from tests.tensorrt.crossing import Crossing
from vadfast.compile.criss_cross_kernels import PtxKernel, make_kernels
from vadfast.compile.criss_cross_nodes import Block, find_blocks, replace_blocks
from vadfast.compile.export import export_onnx
from vadfast.compile.half import write_half
from vadfast.errors import BackendError

FLOAT, HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
KERNEL = PtxKernel("f", ".entry f()", (1, 16, 1), 128, 0, (24, 16))


def _exported(folder: Path, affinity: str) -> Path:
    torch.manual_seed(0)
    export_onnx(Crossing(affinity).eval(), SPEC, folder / f"{affinity}.onnx")
    return folder / f"{affinity}.onnx"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _exported(tmp_path_factory.mktemp("crossing"), "dot")


@pytest.fixture(scope="module", params=["fp32", "fp16", "fp16 cosine"])
def model(request: pytest.FixtureRequest, exported: Path) -> Path:
    if request.param == "fp32":
        return exported
    # Where queries and keys have length 1 they stay in float32, values do not.
    cosine = request.param.endswith("cosine")
    source = _exported(exported.parent, "cosine") if cosine else exported
    target = source.with_name(f"half {source.name}")
    write_half(source, target)
    return target


def _scores(model: onnx.ModelProto) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    frames = film(4, seed=3)
    return session.run(None, {"frames": np.stack([frames[:3], frames[1:]])})


def _attention(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The definition, a position at a time; channels last."""
    y = np.empty(v.shape)
    _, n_rows, n_columns, _ = q.shape
    for b, i, j in np.ndindex(*q.shape[:3]):
        others = [(i, x) for x in range(n_columns)] + [(x, j) for x in range(n_rows) if x != i]
        scores = np.array([q[b, i, j].astype(float) @ k[b, r, c] for r, c in others])
        weights = np.exp(scores - scores.max())
        values = np.array([v[b, r, c] for r, c in others], float)
        y[b, i, j] = weights @ values / weights.sum()
    return y


def test_every_pass_is_found_with_its_sizes(model: Path) -> None:
    blocks = find_blocks(onnx.load(model))
    element = HALF if "half" in model.name else FLOAT
    assert [(b.query_channels, b.channels, b.height, b.width, b.element) for b in blocks] == [
        (4, 6, 16, 24, element)
    ] * 2


def test_what_stands_there_computes_the_same(model: Path) -> None:
    """The graph is cut at our nodes, and what lies between is run by ONNX Runtime: so their inputs are right, and their outputs are used."""
    source, rewritten = onnx.load(model), onnx.load(model)
    replace_blocks(rewritten, lambda block: (KERNEL, KERNEL))
    onnx.checker.check_model(rewritten, full_check=True)
    kinds = [node.op_type for node in rewritten.graph.node]
    assert kinds.count("CrissCrossRows") == kinds.count("CrissCrossColumns") == 2
    assert not {"Exp", "ReduceMax"}.intersection(kinds)
    for before, after in zip(_scores(source), _with_attention(rewritten), strict=True):
        np.testing.assert_allclose(after, before, rtol=2e-3 if "half" in model.name else 1e-5)


def _with_attention(model: onnx.ModelProto) -> list[np.ndarray]:
    """Runs ``model`` node after node, ours in NumPy."""
    frames = film(4, seed=3)
    values = {"frames": np.stack([frames[:3], frames[1:]])}
    values |= {w.name: onnx.numpy_helper.to_array(w) for w in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "CrissCrossRows":
            made: list[np.ndarray] = [values[node.input[2]] * np.nan] * 2  # only the columns use it
        elif node.op_type == "CrissCrossColumns":
            q, k, v = (values[name] for name in node.input[:3])
            made = [_attention(q, k, v).astype(v.dtype), values[node.input[4]]]
        else:
            made = _run(node, values, model)
        values |= dict(zip(node.output, made, strict=True))
    return [values[value.name] for value in model.graph.output]


def _run(
    node: onnx.NodeProto, values: dict[str, np.ndarray], model: onnx.ModelProto
) -> list[np.ndarray]:
    taken = {name: values[name] for name in node.input if name}
    infos = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
        for n, x in taken.items()
    ]
    graph = helper.make_graph(
        [node], "one", infos, [onnx.ValueInfoProto(name=n) for n in node.output]
    )
    one = helper.make_model(graph, opset_imports=model.opset_import[:1], ir_version=10)
    session = onnxruntime.InferenceSession(
        one.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, taken)


def test_a_node_holds_its_kernel_and_its_plugin(exported: Path) -> None:
    model = onnx.load(exported)
    seen: list[Block] = []

    def kernels(block: Block) -> tuple[PtxKernel, PtxKernel]:
        seen.append(block)
        return KERNEL, KERNEL

    replace_blocks(model, kernels)
    node = next(n for n in model.graph.node if n.op_type == "CrissCrossColumns")
    assert {a.name: helper.get_attribute_value(a) for a in node.attribute} == {
        "plugin_namespace": b"vadfast",
        "plugin_version": b"1",
        "aot": 1,
        "symbol": b"f",
        "ptx": b".entry f()",
        "launch": [1, 16, 1, 128, 0],
        "integers": [24, 16],
    }
    assert node.domain == "vadfast"
    assert [o.version for o in model.opset_import if o.domain == "vadfast"] == [1]
    assert len(seen) == 2


def test_a_mask_that_the_exporter_left_to_the_engine_is_one(exported: Path) -> None:
    """As it does from 128 x 128 on."""
    model = onnx.load(exported)
    mask = next(w for w in model.graph.initializer if tuple(w.dims) == (16, 16))
    parts = {"own": np.eye(16, dtype=bool), "below": np.float32(-np.inf), "zero": np.float32(0)}
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(np.array(x), n) for n, x in parts.items()
    )
    model.graph.node.insert(0, helper.make_node("Where", list(parts), [mask.name]))
    model.graph.initializer.remove(mask)
    assert len(find_blocks(model)) == 2
    parts["own"][0, 0] = False
    own = next(w for w in model.graph.initializer if w.name == "own")
    own.CopyFrom(onnx.numpy_helper.from_array(parts["own"], "own"))
    assert find_blocks(model) == []


def _change(model: onnx.ModelProto, what: str) -> None:
    """Makes the last attention of ``model`` another one that looks alike."""
    weights = {w.name: w for w in model.graph.initializer}
    nodes = {n.op_type: n for n in model.graph.node}  # the last of each kind
    if what in ("mask", "ones"):
        own = np.where(np.eye(16, dtype=bool), -np.inf, 0).astype(np.float32)
        shape = (16, 16) if what == "mask" else (24, 1)
        name = next(n for n, w in weights.items() if tuple(w.dims) == shape)
        values = own if what == "mask" else np.ones(shape, np.float32)
        values[0, 0] = 0.5  # the first position attends to itself twice, or counts half
        weights[name].CopyFrom(onnx.numpy_helper.from_array(values, name))
    elif what == "order":
        node = nodes["Max"]
        node.input[0], node.input[1] = node.input[1], node.input[0]
    else:
        # Both transpose the keys: for the rows, and for the columns.
        axes = [0, 1, 3, 2] if what == "axes" else [0, 2, 3, 1]
        turned = [
            n for n in model.graph.node if n.op_type == "Transpose" and n.attribute[0].ints == axes
        ][-1]
        if what == "axes":
            turned.attribute[0].ints[:] = [0, 2, 3, 1]
        else:  # the columns' keys are those of the other pass
            rows = [
                n
                for n in model.graph.node
                if n.op_type == "Transpose" and n.attribute[0].ints == [0, 1, 3, 2]
            ]
            turned.input[0] = rows[0].input[0]


@pytest.mark.parametrize(
    ("what", "n_left"),
    [
        ("mask", 0),
        ("ones", 0),
        ("order", 1),
        ("axes", 1),
        ("keys", 1),
    ],  # both passes share the constants
)
def test_what_only_looks_like_it_stays(exported: Path, what: str, n_left: int) -> None:
    model = onnx.load(exported)
    _change(model, what)
    assert len(find_blocks(model)) == n_left


@pytest.mark.parametrize(("d", "c", "side"), [(129, 8, 9), (8, 1 << 10, 1 << 11)])
def test_what_the_kernel_cannot_index_is_left_out(d: int, c: int, side: int) -> None:
    with pytest.raises(BackendError, match="left out: its kernel takes at most 128 query channels"):
        make_kernels(d, c, side, side, torch.float16)


def test_a_model_without_it_is_left_out(tmp_path: Path) -> None:
    export_onnx(TinyScorer().eval(), SPEC, tmp_path / "model.onnx")
    with pytest.raises(BackendError, match="left out: the model has no criss-cross attention"):
        replace_blocks(onnx.load(tmp_path / "model.onnx"))
