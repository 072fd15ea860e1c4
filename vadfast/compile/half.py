"""model.onnx with its network in float16: what is between the first and the last product of matrices, and none of the score.

For engines that take the type of every number from the file (TensorRT, strongly typed). Products are computed in float16, and what
lies between two of them and keeps its range. The way in (uint8 to [-1, 1]) and out (errors, their squares, decibels) stays float32, and so
does between them all that sums many numbers or leaves float16's 6e-5 ... 65504: means, norms, softmax, exponentials.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from vadfast.errors import BackendError

_PRODUCTS = {"Conv", "ConvTranspose", "Einsum", "Gemm", "MatMul"}
# Their results are no larger than their inputs, or about: in float16 where they come from a product and lead to one.
_BETWEEN = {
    "Abs", "Add", "AveragePool", "Clip", "Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "Identity", "LeakyRelu", "Max",
    "MaxPool", "Min", "Mul", "Neg", "Pad", "PRelu", "Relu", "Reshape", "Resize", "Sigmoid", "Slice", "SpaceToDepth", "Split", "Squeeze",
    "Sub", "Tanh", "Transpose", "Unsqueeze", "Where",
}  # fmt: skip
_SUFFIX = ".half"


def write_half(source: Path, target: Path) -> None:
    """Writes the ONNX model ``source`` to ``target`` with its network in float16; inputs and outputs are as they were.

    Raises:
        BackendError: a weight is beyond the range of float16, or the graph branches.
    """
    import onnx

    model = onnx.shape_inference.infer_shapes(onnx.load(source), strict_mode=True)
    graph = model.graph
    if model.functions or any(a.HasField("g") for n in graph.node for a in n.attribute):
        raise BackendError(
            f"fp16: {source.name} must be one graph without branches; use --precision fp32"
        )
    floats = _floats(graph)
    halves = _computed_in_half(graph.node, floats)
    _rewrite(graph, floats, halves)
    del graph.value_info[:]  # their types were those of before
    onnx.checker.check_model(model, full_check=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, target)


def _floats(graph: Any) -> set[str]:
    """The names of all float32 values."""
    import onnx

    values = (*graph.input, *graph.value_info, *graph.output)
    float32 = onnx.TensorProto.FLOAT
    return {v.name for v in values if v.type.tensor_type.elem_type == float32} | {
        w.name for w in graph.initializer if w.data_type == float32
    }


def _computed_in_half(nodes: Iterable[Any], floats: set[str]) -> set[str]:
    """The float values that are made in float16: of products, and of what lies between two of them."""
    nodes = list(nodes)  # in the order in which they are computed
    reach: set[str] = set()  # values that lead to a product
    for node in reversed(nodes):
        if node.op_type in _PRODUCTS or reach.intersection(node.output):
            reach.update(node.input)
    halves: set[str] = set()
    for node in nodes:
        between = node.op_type in _BETWEEN and halves.intersection(node.input)
        # x * x leaves the range where x does not.
        square = node.op_type == "Mul" and node.input[0] == node.input[1]
        if node.op_type in _PRODUCTS or (
            between and reach.intersection(node.output) and not square
        ):
            halves.update(floats.intersection(node.output))
    # What only float32 takes may as well be made in it, and keeps its range.
    taken: set[str] = set()
    for node in reversed(nodes):
        made = halves.intersection(node.output)
        if made and node.op_type not in _PRODUCTS and not taken.intersection(made):
            halves -= made
        elif made:
            taken.update(_computed_with(node, floats).values())
    return halves


def _computed_with(node: Any, floats: set[str]) -> dict[int, str]:
    """The inputs, by their place, that have the type that ``node`` computes in."""
    # A Resize computes with its picture alone: its scales are always float32.
    names = node.input[:1] if node.op_type == "Resize" else node.input
    return {i: name for i, name in enumerate(names) if name in floats}


def _rewrite(graph: Any, floats: set[str], halves: set[str]) -> None:
    """Gives every value that is wanted in float16 a second name, and casts where the two meet."""
    from onnx import TensorProto, helper, numpy_helper

    weights = {w.name: w for w in graph.initializer}
    wanted32 = {v.name for v in graph.output}
    for node in graph.node:
        inside = _computed_with(node, floats) if halves.intersection(node.output) else {}
        wanted32.update(name for i, name in enumerate(node.input) if i not in inside)
    nodes, there = [], set(halves)  # ``there``: what has its float16 form already
    for node in graph.node:
        made = halves.intersection(node.output)
        if made:
            for i, name in _computed_with(node, floats).items():
                node.input[i] = name + _SUFFIX
                if name not in there and name in weights:
                    values = _in_half(name, numpy_helper.to_array(weights[name]))
                    graph.initializer.append(numpy_helper.from_array(values, name + _SUFFIX))
                elif name not in there:
                    nodes.append(_cast(helper, name, name + _SUFFIX, TensorProto.FLOAT16))
                there.add(name)
            for i, name in enumerate(node.output):
                if name in made:
                    node.output[i] = name + _SUFFIX
        nodes.append(node)
        nodes += [
            _cast(helper, name + _SUFFIX, name, TensorProto.FLOAT)
            for name in sorted(made & wanted32)
        ]
    kept = [w for w in graph.initializer if w.name not in floats or w.name in wanted32]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)


def _cast(helper: Any, source: str, target: str, to: int) -> Any:
    return helper.make_node("Cast", [source], [target], to=to)


def _in_half(name: str, values: Any) -> Any:
    with np.errstate(over="ignore"):
        halves = values.astype(np.float16)
    if not np.isfinite(halves).all():
        raise BackendError(
            f"fp16: weight {name} must lie within float16's 65504, its largest is {np.abs(values).max():.3g}; use --precision fp32"
        )
    return halves
