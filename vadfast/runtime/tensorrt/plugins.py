"""Criss-cross attention as two ahead-of-time plugins of TensorRT: the kernel lies in the ONNX node, TensorRT puts it into the engine.

Opening such an engine needs no Python of ours; building one needs these two names. The PTX, its launch and its integers are the node's
attributes (``vadfast.compile.criss_cross_nodes`` writes them), so nothing here knows a size, but for the batch: a block along y is one
line of one image.
"""

import importlib
import inspect
from collections.abc import Callable
from functools import cache, partial
from types import GenericAlias
from typing import Any

import numpy as np
import numpy.typing as npt

from vadfast.errors import BackendError, first_line
from vadfast.runtime.engines.quiet_stdout import quiet_stdout
from vadfast.runtime.tensorrt.gpu import Gpu
from vadfast.runtime.tensorrt.library import Library

NAMESPACE, VERSION = "vadfast", "1"
ROWS, COLUMNS = "CrissCrossRows", "CrissCrossColumns"
OLDEST_CAPABILITY = (8, 0)  # what the nodes' PTX is for, and everything after
# Of a node: what the kernel is called in its PTX, the PTX, the launch (tiles, lines of an image, chunks, threads, bytes of shared
# memory), and the integers of the call.
_ATTRIBUTES = {"symbol": str, "ptx": str, "launch": npt.NDArray[np.int32], "integers": npt.NDArray[np.int32]}  # fmt: skip

Outputs = Callable[..., tuple[Any, Any]]


def refusal(library: Library, gpu: Gpu) -> str | None:
    """Returns why ``library`` takes no plugins of this kind for ``gpu``, in a few words, or None."""
    if library.is_rtx:
        return f"{library.name} takes no plugins; take tensorrt, which needs none"
    if not hasattr(library.trt, "IPluginV3QuickAOTBuild"):
        return f"needs TensorRT 10.9 or newer for plugins compiled ahead of time, got {library.name}; take tensorrt, which needs none"
    if library.module != "tensorrt":
        return f"needs the package tensorrt, whose plugins import it by that name, got {library.module} alone; pip install tensorrt-cu13"
    if tuple(map(int, gpu.capability.split("."))) < OLDEST_CAPABILITY:
        return f"needs a GPU of compute capability 8.0 or newer for its kernels, {gpu.name} has {gpu.capability}; take tensorrt, which needs none"
    return None


def register(library: Library, gpu: Gpu) -> None:
    """Makes both plugins known to ``library``; again is harmless.

    Raises:
        BackendError: it takes no plugins of this kind.
    """
    if said := refusal(library, gpu):
        raise BackendError(said)
    _register(library.module)


@cache
def _register(module: str) -> None:
    # Its own imports fail where the packages of TensorRT are of different versions.
    try:
        with quiet_stdout(f"{module}.plugin"):  # it says that it is experimental
            plugin = importlib.import_module(f"{module}.plugin")
    except (ImportError, AttributeError) as error:
        raise BackendError(
            f"{module}.plugin cannot be imported ({first_line(error)}); install the same version of all of TensorRT's packages"
        ) from error
    float32 = importlib.import_module(module).DataType.FLOAT
    _define(plugin, ROWS, ("q", "k", "v"), partial(_rows, plugin, float32))
    _define(plugin, COLUMNS, ("q", "k", "v", "acc", "acc_state"), partial(_columns, plugin))


def _define(plugin: Any, name: str, tensors: tuple[str, ...], outputs: Outputs) -> None:
    """Registers one plugin. TensorRT reads what it takes from the two functions' signatures, which are therefore set, not written."""
    desc = plugin.TensorDesc

    def describe(*given: Any, **attributes: Any) -> tuple[Any, ...]:
        return outputs(*given)

    def launch(*given: Any) -> tuple[Any, ...]:
        return _launch(plugin, given[0], *given[len(tensors) : -2])

    takes = dict.fromkeys(tensors, desc) | _ATTRIBUTES
    kernel = tuple[str | bytes, str | bytes, plugin.KernelLaunchParams, plugin.SymExprs]
    makes = GenericAlias(tuple, (desc, desc))
    _sign(describe, takes, makes)
    _sign(launch, takes | {"outputs": makes, "tactic": int}, kernel)
    plugin.register(f"{NAMESPACE}::{name}")(describe)
    plugin.aot_impl(f"{NAMESPACE}::{name}")(launch)


def _sign(function: Any, takes: dict[str, Any], returns: Any) -> None:
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(name, kind, annotation=a) for name, a in takes.items()]
    function.__signature__ = inspect.Signature(parameters, return_annotation=returns)


def _rows(plugin: Any, float32: Any, q: Any, k: Any, v: Any) -> tuple[Any, Any]:
    """The sums of the rows, and the softmax's state: both in float32, whatever v is."""
    sums = v.like()
    sums.dtype = float32
    b, h, w = (q.shape_expr[i] for i in range(3))
    return sums, plugin.from_shape_expr((b, h, w, 2), float32)


def _columns(plugin: Any, q: Any, k: Any, v: Any, acc: Any, state: Any) -> tuple[Any, Any]:
    """The result; and the state once more, which the kernel writes for a gradient that nobody wants here."""
    return v.like(), state.like()


def _launch(
    plugin: Any,
    q: Any,
    symbol: str,
    ptx: str,
    launch: npt.NDArray[np.int32],
    integers: npt.NDArray[np.int32],
) -> tuple[Any, ...]:
    tiles, lines, chunks, threads, shared = (int(n) for n in launch)
    parameters = plugin.KernelLaunchParams()
    parameters.grid_x, parameters.grid_z = tiles, chunks
    parameters.grid_y = q.shape_expr[0] * lines
    parameters.block_x, parameters.shared_mem = threads, shared
    extra = plugin.SymIntExprs.from_tuple([plugin.SymInt32(int(n)) for n in integers])
    # A text that has come through C may end with the zero that ends it there.
    return symbol.rstrip("\0"), ptx.rstrip("\0"), parameters, extra
