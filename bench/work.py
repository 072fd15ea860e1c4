"""Counts the work of a formulation, on tensors that have shapes and no numbers: bytes moved and multiplications done by each launch.

Eager PyTorch launches each operation, ours the kernels it asks Triton for, and torch.compile what Inductor's scheduler makes of the
graph. Inductor is asked for a CPU: for a GPU it wants one to be there. What it fuses differs between them in the details.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from functorch.compile import make_boxed_func  # type: ignore[import-untyped]
from torch import Tensor
from torch._guards import detect_fake_mode
from torch._inductor.compile_fx import (
    _recursive_post_grad_passes,
    compile_fx,
    record_original_output_strides,
)
from torch._inductor.debug import DebugContext
from torch._inductor.graph import GraphLowering
from torch._inductor.virtualized import V
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import flop_registry
from vadfast_kernels import _triton
from vadfast_kernels.aot.build import launches

from bench.operators import leaves

_FREE = {"empty", "empty_strided", "new_empty", "new_empty_strided", "empty_like"}


@dataclass(frozen=True, slots=True)
class Work:
    """One launch."""

    mbyte: float
    gflop: float


class Counter(TorchDispatchMode):
    """Lists the work of each operation; ``backend="triton"`` of a vadfast operator counts as its launches."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.works: list[Work] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Runs ``function`` and counts it."""
        kwargs = kwargs or {}
        if function.namespace == "vadfast":
            return self._fused(function, args)
        out = function(*args, **kwargs)
        packet = function._overloadpacket
        if packet.__name__ in _FREE or not _is_launch(function, args, out):
            return out
        flop = flop_registry[packet](*args, **kwargs, out_val=out) if packet in flop_registry else 0
        self.works.append(Work(mbyte_of((args, kwargs)) + mbyte_of(out), flop / 1e9))
        return out

    def _fused(self, function: Any, args: Any) -> Any:
        """What the operator does around its launches is counted by this mode, the launches by what they are given."""
        body = torch._library.custom_ops.OPDEFS[function._schema.name]._init_fn
        with launches() as kept, patch.object(_triton, "refusal", lambda _: None), self:
            out = body(*args)
        self.works += [Work(mbyte_of(arguments), 0.0) for _, _, arguments, _ in kept]
        return out


def _is_launch(function: Any, args: Any, out: Any) -> bool:
    """Whether something was written on the device: not a number or a tensor of the host, nor an argument seen anew."""
    written = [x for x in tree_leaves(out) if isinstance(x, Tensor) and x.is_meta]
    if function._schema.is_mutable:
        return bool(written)
    given = [x for x in tree_leaves(args) if isinstance(x, Tensor)]
    # A cast to the dtype that is there already is a view.
    is_alias = torch._C._is_alias_of  # type: ignore[attr-defined]
    return any(not any(is_alias(x, y) for y in given) for x in written)


def mbyte_of(tree: Any) -> float:
    """What is read or written: memory that is passed twice, and an expanded side, are there once."""
    size: dict[tuple[int, int], int] = {}
    for x in tree_leaves(tree):
        if isinstance(x, Tensor):
            place = x.untyped_storage()._cdata, int(x.storage_offset())
            size[place] = max(size.get(place, 0), _stored(x) * x.element_size())
    return sum(size.values()) / 1e6


def _stored(x: Tensor) -> int:
    n = 1
    for size, stride in zip(x.shape, x.stride(), strict=True):
        n *= size if stride else 1
    return n


def works_of(call: Callable[..., Tensor], inputs: Sequence[Any], *, backward: bool) -> list[Work]:
    """Returns the work of ``call``, and of the gradients to all of its floating-point inputs."""
    with Counter() as counter, torch.set_grad_enabled(backward):
        out = call(*inputs)
        if backward:
            torch.autograd.grad(out, leaves(inputs), torch.empty_like(out), allow_unused=True)
    return counter.works


def compiled_works_of(
    call: Callable[..., Tensor], inputs: Sequence[Any], *, backward: bool
) -> list[Work]:
    """Returns the work of ``call`` under torch.compile, and of the gradients to all of its floating-point inputs."""
    found: list[Work] = []

    def count(graph_module: torch.fx.GraphModule, example: Sequence[Any], **how: Any) -> Any:
        found.extend(_inductor_kernels(graph_module, example, **how))
        return make_boxed_func(graph_module.forward)

    torch._dynamo.reset()
    compiled = torch.compile(call, backend=partial(compile_fx, inner_compile=count), fullgraph=True)
    with FakeTensorMode(allow_non_fake_inputs=True), torch.set_grad_enabled(backward):
        given = tree_map(_on_cpu, list(inputs))
        out = compiled(*given)
        if backward:
            torch.autograd.grad(out, leaves(given), torch.empty_like(out), allow_unused=True)
    return found


def _on_cpu(x: Any) -> Any:
    if not isinstance(x, Tensor):
        return x
    return torch.empty_like(x, device="cpu").requires_grad_(x.requires_grad)


def _inductor_kernels(
    graph_module: torch.fx.GraphModule,
    example: Sequence[Any],
    *,
    is_inference: bool = False,
    is_backward: bool = False,
    **_: Any,
) -> list[Work]:
    """The kernels of Inductor's schedule, after its fusion."""
    record_original_output_strides(graph_module)
    fake = detect_fake_mode(example)
    with V.set_fake_mode(fake), V.set_debug_handler(DebugContext()):
        _recursive_post_grad_passes(graph_module, is_inference)
        graph = GraphLowering(
            graph_module, example, is_inference=is_inference, is_backward=is_backward
        )
        with V.set_graph_handler(graph), V.set_extern_kernel_nodes([]):
            graph.run(*example)
            graph._update_scheduler()
            return [
                Work(n_bytes / 1e6, (node.estimate_flops() or 0) / 1e9)
                for node in graph.scheduler.nodes
                if (n_bytes := node.get_read_write_buffers_sizes())
            ]
