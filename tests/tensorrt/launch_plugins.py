"""Puts our nodes into MODEL, registers the plugins with the Python of a TensorRT binding, and asks for each launch as TensorRT would.

Prints as JSON what TensorRT gets, and what Triton's own launcher does.

python launch_plugins.py FOLDER BATCH MODEL LIBRARY...     LIBRARY: loaded first, the empty ones of shim.c

TensorRT's own part is C++ and absent. What stands for it: a registry of plugins, and dimensions that are numbers.
"""

import ctypes
import importlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import torch
from triton import knobs
from vadfast_kernels.aot import recorded
from vadfast_kernels.aot.compiled import compile_build
from vadfast_kernels.criss_cross_attention import triton_impl

from vadfast.compile.criss_cross_nodes import find_blocks, replace_blocks
from vadfast.runtime.tensorrt import plugins
from vadfast.runtime.tensorrt.gpu import Gpu
from vadfast.runtime.tensorrt.library import Library

folder, batch, path, *libraries = sys.argv[1:]
sys.path.insert(0, folder)
for library in libraries:
    ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
trt = importlib.import_module("tensorrt_bindings")
sys.modules["tensorrt"] = trt


class Registry:
    """Keeps what is registered."""

    def __init__(self) -> None:
        self.creators: dict[tuple[str, ...], Any] = {}

    def register_creator(self, creator: Any, namespace: str) -> None:
        self.creators[creator.name, creator.plugin_version, namespace] = creator

    def get_creator(self, *key: str) -> Any:
        return self.creators[key]


class Dimension:
    """A number that TensorRT knows only when it runs."""

    def __init__(self, value: int) -> None:
        self.value = value

    def is_constant(self) -> bool:
        return False


class Dimensions:
    """Makes dimensions of numbers and of others."""

    def constant(self, value: int) -> Dimension:
        return Dimension(value)

    def operation(self, kind: Any, a: Dimension, b: Dimension) -> Dimension:
        made = {
            trt.DimensionOperation.PROD: a.value * b.value,
            trt.DimensionOperation.SUM: a.value + b.value,
        }
        return Dimension(made[kind])


registry = Registry()
trt.get_plugin_registry = lambda: registry
trt.IDimensionExpr = Dimension
trt.ISymExpr = type("ISymExpr", (), {})  # the real one takes dimensions of C++ alone
trt.DimsExprs = lambda n: [None] * n
library = Library(trt, "tensorrt", trt.__version__)
for _ in range(2):  # as the second engine of a process does
    plugins.register(library, Gpu("Fake GPU", "8.0", 13000))

fields = {
    "symbol": trt.PluginFieldType.CHAR,
    "ptx": trt.PluginFieldType.CHAR,
    "launch": trt.PluginFieldType.INT32,
    "integers": trt.PluginFieldType.INT32,
}
alive: list[Any] = []
types = {onnx.TensorProto.FLOAT: trt.DataType.FLOAT, onnx.TensorProto.FLOAT16: trt.DataType.HALF}


def field(attribute: Any) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    # As the parser gives it; a text that came through C has its zero.
    data = value + b"\0" if isinstance(value, bytes) else np.array(value, np.int32)
    alive.append(data)  # a field only points at it
    return trt.PluginField(attribute.name, data, fields[attribute.name])


def described(shape: list[int], kind: Any) -> Any:
    desc = trt.DynamicPluginTensorDesc()
    desc.desc.type, desc.desc.format, desc.desc.dims = kind, trt.TensorFormat.LINEAR, shape
    return desc


def launched(node: Any, shapes: dict[str, list[int]], kinds: dict[str, Any]) -> dict[str, Any]:
    creator = registry.get_creator(node.op_type, "1", node.domain)
    attributes = {a.name: a for a in node.attribute}
    # The parser goes through the names that the creator asks for, in its order.
    given = trt.PluginFieldCollection([field(attributes[f.name]) for f in creator.field_names])
    phase, request = trt.TensorRTPhase.BUILD, trt.QuickPluginCreationRequest.STRICT_AOT
    plugin = creator.create_plugin(node.op_type, node.domain, given, phase, request)
    assert isinstance(plugin, trt.IPluginV3QuickAOTBuild)
    made = plugin.get_output_data_types([kinds[n] for n in node.input], [4] * len(node.input))
    sizes = [[Dimension(n) for n in shapes[name]] for name in node.input]
    expressions = plugin.get_output_shapes(sizes, [], Dimensions())
    for name, kind, shape in zip(node.output, made, expressions, strict=True):
        kinds[name], shapes[name] = kind, [d.value for d in shape]
    in_out = [described(shapes[n], kinds[n]) for n in (*node.input, *node.output)]
    plugin.set_tactic(0)
    launch, integers = SimpleNamespace(), SymExprs()
    plugin.get_launch_params(sizes, in_out, len(node.input), launch, integers, Dimensions())
    descs = [d.desc for d in in_out]
    n = len(node.input)
    symbol, ptx = plugin.get_kernel(descs[:n], descs[n:])
    return {
        "kind": node.op_type,
        "inputs": [shapes[name] for name in node.input],
        "outputs": [[shapes[name], str(kinds[name])] for name in node.output],
        "launch": {name: value.expr.value for name, value in vars(launch).items()},
        "integers": [e.expr.value for e in integers.found.values()],
        "integer_types": sorted({str(e.dtype) for e in integers.found.values()}),
        "symbol": symbol,
        "ptx": ptx.decode(),
    }


class SymExprs:
    """Takes the integers of a call."""

    def __init__(self) -> None:
        self.nbSymExprs = 0
        self.found: dict[int, Any] = {}

    def __setitem__(self, index: int, expression: Any) -> None:
        assert index < self.nbSymExprs
        self.found[index] = expression


def triton_launches(block: Any) -> list[dict[str, Any]]:
    """What Triton's own launcher does with the same tensors."""
    sizes = (int(batch), block.height, block.width)
    d, c = block.query_channels, block.channels
    dtype = torch.float16 if block.element == onnx.TensorProto.FLOAT16 else torch.float32
    q, k, v = (
        torch.empty((*sizes, n), dtype=dtype, device="meta").movedim(-1, 1) for n in (d, d, c)
    )
    rows, columns = recorded("B", lambda: triton_impl.forward(q, k, v))
    return [
        {
            "grid": build.grid,
            "n_threads": 32 * build.n_warps,
            "integers": list(build.scalars.values()),
            "arguments": build.arguments(),
            "ptx": compile_build(build, 80).ptx,
        }
        for build in (rows, columns)
    ]


def assembled(ptx: str) -> str:
    """What the assembler says of ``ptx``; nothing, where it is right."""
    with tempfile.NamedTemporaryFile("w", suffix=".ptx") as file:
        file.write(ptx)
        file.flush()
        command = [
            knobs.nvidia.ptxas.path,
            "--gpu-name=sm_90",
            file.name,
            "-o",
            f"{file.name}.cubin",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        Path(f"{file.name}.cubin").unlink(missing_ok=True)
    return done.stdout + done.stderr


model = onnx.load(path)
blocks = find_blocks(model)
replace_blocks(model)
model = onnx.shape_inference.infer_shapes(model)
infos = {v.name: v.type.tensor_type for v in model.graph.value_info}
shapes = {n: [d.dim_value or int(batch) for d in t.shape.dim] for n, t in infos.items()}
kinds = {n: types.get(t.elem_type) for n, t in infos.items()}
nodes = [launched(n, shapes, kinds) for n in model.graph.node if n.domain == plugins.NAMESPACE]
for node in nodes:
    node["assembler"] = assembled(node["ptx"])
print(json.dumps([nodes, [launch for block in blocks for launch in triton_launches(block)]]))
