"""A formula looked for in an ONNX graph: nested nodes with their attributes, and names for what it is a formula of.

>>> node("MatMul", "q", node("Transpose", "k", perm=[0, 1, 3, 2]))
Node(kind='MatMul', takes=('q', Node(kind='Transpose', takes=('k',), attributes={'perm': [0, 1, 3, 2]})), attributes={})

A name matches any value, and the same one wherever it stands. Casts are looked through: they change how numbers are rounded, not what
is computed.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Node:
    """An operation of other formulas; attributes that are not named may be anything."""

    kind: str
    takes: tuple["Formula", ...]
    attributes: dict[str, Any]


Formula = Node | str


def node(kind: str, *takes: Formula, **attributes: Any) -> Node:
    """Returns the formula of one operation."""
    return Node(kind, takes, attributes)


class Graph:
    """Who makes each value of a model, and what is known of it."""

    def __init__(self, model: Any) -> None:
        """Infers sizes and types of ``model``, which stays as it is."""
        import onnx

        inferred = onnx.shape_inference.infer_shapes(model).graph
        values = (*inferred.input, *inferred.value_info, *inferred.output)
        self._types = {v.name: v.type.tensor_type for v in values}
        self._maker = {name: n for n in model.graph.node for name in n.output}
        self._weights = {w.name: w for w in model.graph.initializer}

    def match(self, last: Any, formula: Node) -> dict[str, str] | None:
        """Returns the values that the names of ``formula`` stand for if ``last`` is its last node, else None."""
        found: dict[str, str] = {}
        return found if self._is(last, formula, found) else None

    def sizes(self, name: str) -> tuple[int, ...]:
        """Returns the sizes of ``name``, 0 where one is open; nothing where they are not known."""
        known = self._types.get(name)
        return () if known is None else tuple(d.dim_value for d in known.shape.dim)

    def element(self, name: str) -> int:
        """Returns the type of the numbers of ``name``, as ``onnx.TensorProto`` counts them."""
        return int(self._types[name].elem_type)

    def constant(self, name: str) -> Any:
        """Returns the numbers of ``name``, a weight or a choice between weights, or None."""
        from onnx import numpy_helper

        if name in self._weights:
            return numpy_helper.to_array(self._weights[name])
        # The exporter leaves a choice of many numbers to the engine (a mask of 128 x 128), and makes one of few itself.
        made_by = self._maker.get(name)
        if made_by is None or made_by.op_type != "Where":
            return None
        parts = [self.constant(part) for part in made_by.input]
        return None if any(part is None for part in parts) else np.where(*parts)

    def _is(self, made_by: Any, formula: Node, found: dict[str, str]) -> bool:
        if made_by is None or made_by.op_type != formula.kind or made_by.domain:
            return False
        if len(made_by.input) != len(formula.takes):
            return False
        if any(_attribute(made_by, n) != value for n, value in formula.attributes.items()):
            return False
        for name, wanted in zip(made_by.input, formula.takes, strict=True):
            origin = self._uncast(name)
            if isinstance(wanted, str):
                if found.setdefault(wanted, origin) != origin:
                    return False
            elif not self._is(self._maker.get(origin), wanted, found):
                return False
        return True

    def _uncast(self, name: str) -> str:
        """Returns what ``name`` is, but for its type."""
        while (made_by := self._maker.get(name)) is not None and made_by.op_type == "Cast":
            name = made_by.input[0]
        return name


def _attribute(made_by: Any, name: str) -> Any:
    from onnx import helper

    return next((helper.get_attribute_value(a) for a in made_by.attribute if a.name == name), None)
