"""Finds criss-cross attention in an exported graph, and puts two nodes of our own there: rows, then columns that continue them.

What is looked for is what ``graph_forms`` exports, and casts within it where the model is in float16. The whole formula is compared,
down to the mask: a graph that only looks like it stays as it is.

    CrissCrossRows     q, k [B, H, W, D], v [B, H, W, C]         ->  acc float32 [B, H, W, C], state float32 [B, H, W, 2]
    CrissCrossColumns  q, k, v, acc, state                       ->  y [B, H, W, C], state

Both are of the domain ``vadfast``, and hold their kernel: TensorRT needs neither torch nor Triton to build an engine of them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from vadfast.compile.criss_cross_kernels import PtxKernel, make_kernels
from vadfast.compile.formula import Formula, Graph, Node, node
from vadfast.errors import BackendError
from vadfast.runtime.tensorrt.plugins import COLUMNS, NAMESPACE, ROWS, VERSION


def _turned(of: Formula) -> Formula:
    """Rows for columns."""
    return node("Transpose", of, perm=[0, 2, 1, 3])


def _attention() -> Node:
    row = node("MatMul", "q", node("Transpose", "k", perm=[0, 1, 3, 2]))
    down = node("MatMul", _turned("q"), node("Transpose", "k", perm=[0, 2, 3, 1]))
    column = node("Add", down, "mask")
    top = node(
        "Max",
        node("ReduceMax", row, "axis", keepdims=1),
        _turned(node("ReduceMax", column, "axis", keepdims=1)),
    )
    p_row, p_column = (
        node("Exp", node("Sub", row, top)),
        node("Exp", node("Sub", column, _turned(top))),
    )
    values = node(
        "Add", node("MatMul", p_row, "v"), _turned(node("MatMul", p_column, _turned("v")))
    )
    total = node(
        "Add", node("MatMul", p_row, "ones_w"), _turned(node("MatMul", p_column, "ones_h"))
    )
    return node("Div", values, total)


_ATTENTION = _attention()


@dataclass(frozen=True, slots=True)
class Block:
    """One criss-cross attention: the names of its tensors, their types, and their sizes."""

    q: str
    k: str
    v: str
    y: str
    query_channels: int
    channels: int
    height: int
    width: int
    types: dict[str, int]  # of q, k, v and y, by their names: onnx.TensorProto.FLOAT or FLOAT16

    @property
    def element(self) -> int:
        """What is computed with: the type of v."""
        return self.types[self.v]


def compiled(block: Block) -> tuple[PtxKernel, PtxKernel]:
    """Returns the kernels of rows and columns of ``block``. Raises BackendError where Triton cannot make them."""
    import torch
    from onnx import TensorProto

    dtype = torch.float16 if block.element == TensorProto.FLOAT16 else torch.float32
    return make_kernels(block.query_channels, block.channels, block.height, block.width, dtype)


def find_blocks(model: Any) -> list[Block]:
    """Returns every criss-cross attention of the ONNX ``model``, in order."""
    graph = Graph(model)
    return [block for n in model.graph.node if (block := _block(graph, n)) is not None]


def replace_blocks(
    model: Any, kernels: Callable[[Block], tuple[PtxKernel, PtxKernel]] = compiled
) -> None:
    """Replaces every criss-cross attention of the ONNX ``model``, in place, by nodes that hold what ``kernels`` gives for it.

    Raises:
        BackendError: there is none.
    """
    from onnx import helper

    blocks = {block.y: block for block in find_blocks(model)}
    if not blocks:
        raise BackendError(
            "left out: the model has no criss-cross attention, which is all that the plugin replaces"
        )
    nodes: list[Any] = []
    for old in model.graph.node:
        block = blocks.get(old.output[0])
        nodes += [old] if block is None else _nodes(block, *kernels(block))
    _keep_needed(model.graph, nodes)
    model.opset_import.append(helper.make_opsetid(NAMESPACE, int(VERSION)))
    model.graph.value_info.extend(v for block in blocks.values() for v in _infos(block))


def _block(graph: Graph, last: Any) -> Block | None:
    """Returns the criss-cross attention whose result ``last`` makes, or None."""
    found = graph.match(last, _ATTENTION)
    if found is None:
        return None
    q, k, v, y = found["q"], found["k"], found["v"], last.output[0]
    sizes = graph.sizes(q), graph.sizes(v)
    if any(len(s) != 4 or not all(s[1:]) for s in sizes):
        return None
    (_, h, w, d), (_, _, _, c) = sizes
    mask, axis = graph.constant(found["mask"]), graph.constant(found["axis"])
    own = np.where(np.eye(h, dtype=bool), -np.inf, 0)
    if mask is None or not np.array_equal(mask, own) or axis is None or axis.tolist() != [-1]:
        return None
    for name, length in (("ones_w", w), ("ones_h", h)):
        ones = graph.constant(found[name])
        if ones is None or not np.array_equal(ones, np.ones((length, 1))):
            return None
    return Block(q, k, v, y, d, c, h, w, {name: graph.element(name) for name in (q, k, v, y)})


def _nodes(block: Block, rows: PtxKernel, columns: PtxKernel) -> Iterator[Any]:
    """The two nodes, and casts of what is not of the type of v."""
    from onnx import helper

    taken = []
    for name in (block.q, block.k, block.v):
        other = block.types[name] != block.element
        taken.append(f"{block.y}.{name}" if other else name)
        if other:
            yield helper.make_node("Cast", [name], taken[-1:], to=block.element)
    acc, state, y, end = _made(block)
    yield _node(ROWS, taken, [acc, state], rows)
    yield _node(COLUMNS, [*taken, acc, state], [y, end], columns)
    if y != block.y:
        yield helper.make_node("Cast", [y], [block.y], to=block.types[block.y])


def _node(name: str, takes: list[str], makes: list[str], kernel: PtxKernel) -> Any:
    from onnx import helper

    launch = [*kernel.grid, kernel.n_threads, kernel.shared_bytes]
    return helper.make_node(
        name, takes, makes, domain=NAMESPACE, plugin_namespace=NAMESPACE, plugin_version=VERSION, aot=1,
        symbol=kernel.symbol, ptx=kernel.ptx, launch=launch, integers=kernel.integers,
    )  # fmt: skip


def _made(block: Block) -> tuple[str, ...]:
    """What the two nodes make."""
    same = block.types[block.y] == block.element
    y = block.y if same else f"{block.y}.attended"
    return f"{block.y}.acc", f"{block.y}.state", y, f"{block.y}.end"


def _infos(block: Block) -> Iterator[Any]:
    """Of what our nodes make, which no shape inference knows."""
    from onnx import TensorProto, helper

    types = (TensorProto.FLOAT, TensorProto.FLOAT, block.element, TensorProto.FLOAT)
    channels = (block.channels, 2, block.channels, 2)
    for name, element, n in zip(_made(block), types, channels, strict=True):
        yield helper.make_tensor_value_info(name, element, ["batch", block.height, block.width, n])


def _keep_needed(graph: Any, nodes: list[Any]) -> None:
    """Makes ``nodes`` those of ``graph``, but for what nothing needs any more; what is known of values is inferred anew."""
    needed = {value.name for value in graph.output}
    kept = []
    for old in reversed(nodes):
        if needed.intersection(old.output):
            needed.update(old.input)
            kept.append(old)
    weights = [w for w in graph.initializer if w.name in needed]
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(reversed(kept))
    graph.initializer.extend(weights)
