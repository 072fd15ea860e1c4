"""``python -m bench predict``: what the operators should take on GPUs that are not here, by counting; nothing is measured.

Every formulation runs on meta tensors, which have shapes and no numbers. Each operation of eager, and each launch of ours, reads its
inputs once and writes its outputs once; a view costs nothing. So, by the data sheet of the GPU,

    time = sum over launches of max(bytes / copy rate, flop / matrix rate) + launches x LAUNCH_US

Eager's flop are those of its matrix products. Our kernels hold their products inside, so ours are the least work of the operator,
times ``_BACKWARD`` where the gradient is taken too, set against all of their bytes. Caches are left out, which favours nobody at
APN's sizes and eager at small ones; so are the exponentials of both.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry
from vadfast_kernels import _triton, ops
from vadfast_kernels.aot.build import launches
from vadfast_kernels.sta_attention.circle import harmonics_for
from vadfast_kernels.sta_attention.op import MAX_ERROR

from bench.contestants import Case, Measured, all_cases
from bench.machine import folder_of, this_machine
from bench.operators import leaves
from bench.results import ROOT, Row, write_rows
from bench.shapes import Shape

LAUNCH_US = 5.0  # from one kernel to the next, as eager PyTorch launches them
# Work of forward and gradient over that of the forward pass: scores once more for each of two or three gradients.
_BACKWARD = 4.0
_FREE = {"empty", "empty_strided", "new_empty", "new_empty_strided", "empty_like"}
# What must be reached against eager, in the direction that is named.
_WANTED = {
    ("criss-cross attention", "forward"): {"naive": 8.0, "einsum": 2.0},
    ("sta attention", "forward"): {"exact": 100.0},
    ("variance attention", "forward and backward"): {"eager": 3.0},
    ("prototype attention", "forward and backward"): {"broadcast": 3.0},
    ("attention loss", "forward and backward"): {"eager": 8.0},
    ("psnr, 64 frames", "forward"): {"eager": 3.5},
    ("psnr, 1 frame", "forward"): {"eager": 8.0},
}


@dataclass(frozen=True, slots=True)
class GPU:
    """Rates of a data sheet, dense."""

    name: str
    gb_s: float
    tflops: dict[torch.dtype, float]

    @property
    def device(self) -> str:
        """How its rows name it: nothing ran on it."""
        return f"{self.name} (by its data sheet)"

    def ms(self, works: Iterable["Work"], dtype: torch.dtype) -> float:
        """Returns what ``works`` take one after the other."""
        return sum(
            max(w.mbyte / self.gb_s, w.gflop / self.tflops[dtype]) + LAUNCH_US / 1e3 for w in works
        )


GPUS = (
    GPU("NVIDIA A100 80 GB SXM", 2039, {torch.float32: 19.5, torch.float16: 312}),
    GPU("NVIDIA H100 SXM", 3350, {torch.float32: 66.9, torch.float16: 989}),
)


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
        self.works.append(Work(_mbyte((args, kwargs)) + _mbyte(out), flop / 1e9))
        return out

    def _fused(self, function: Any, args: Any) -> Any:
        """What the operator does around its launches is counted by this mode, the launches by what they are given."""
        body = torch._library.custom_ops.OPDEFS[function._schema.name]._init_fn
        with launches() as kept, patch.object(_triton, "refusal", lambda _: None), self:
            out = body(*args)
        self.works += [Work(_mbyte(arguments), 0.0) for _, _, arguments, _ in kept]
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


def _mbyte(tree: Any) -> float:
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


def rows() -> Iterator[Row]:
    """Yields every operator that has a form for GPUs, at every shape, beside its plain formulations."""
    for case in all_cases(torch.float16):
        if case.name in _CUDA or _has_triton(case.name):
            yield from _rows(case)


@cache
def _has_triton(name: str) -> bool:
    operator = name.replace(" ", "_").replace("-", "_")
    if operator not in ops.operators():
        return False
    verdicts = ops.explain(operator, *ops.sample(operator, "meta", torch.float32))
    return any(v.backend == "triton" for v in verdicts)


def _frame_score(predicted: Tensor, truth: Tensor) -> list[Work]:
    """Both launches of csrc/core/frame_score.cu: sums of each row into its scratch, and the sums of those."""
    n, c, h, _ = predicted.shape
    # float64, of each row: its channels, one patch and one cell of the heat map.
    scratch = n * h * (c + 2) * 8 / 1e6
    return [Work(_mbyte((predicted, truth)) + scratch, 0.0), Work(scratch, 0.0)]


# What is CUDA and not Triton cannot be asked for its launches.
_CUDA = {"psnr": _frame_score}


def _rows(case: Case) -> Iterator[Row]:
    operator, shape, dtype, backward = case.measured.operator, case.shape, case.dtype, case.backward
    found = {}
    for provider, call in operator.providers.items():
        if provider == "flex":  # never runs uncompiled at these sizes
            continue
        ours = provider == "vadfast"
        inputs = [
            _meta(x, dtype, channels_last=ours, trained=backward) if isinstance(x, Tensor) else x
            for x in operator.inputs(shape, torch.Generator().manual_seed(0))
        ]
        if ours and case.name in _CUDA:
            found[provider] = _CUDA[case.name](*inputs)
            continue
        call = partial(call, backend="triton") if ours else call
        found[provider] = works_of(call, inputs, backward=backward)
    least = _least_gflop(case.measured, shape) * (_BACKWARD if backward else 1.0)
    found["vadfast"] = _with_products(found["vadfast"], least)
    for gpu in GPUS:
        times = {provider: gpu.ms(works, dtype) for provider, works in found.items()}
        for provider, works in found.items():
            wanted = (
                _WANTED.get((case.name, case.direction))
                or _WANTED.get((f"{case.name}, {shape.name}", case.direction))
                or {}
            ).get(provider)
            ratio = times[provider] / times["vadfast"]
            yield Row(
                suite="predicted",
                case=f"{case.name}, {shape.name}, {case.direction}",
                provider=provider,
                shape=shape.words,
                dtype=case.precision,
                value=float(f"{times[provider]:.3g}"),
                unit="ms",
                ratio=float(f"{ratio:.3g}"),
                reference="the time of vadfast",
                kind="predicted",
                device=gpu.device,
                date=this_machine().date,
                commit=this_machine().commit,
                load=0.0,
                target="" if wanted is None else f"vadfast >= {wanted:g}x faster",
                note=f"{len(works)} launches, {sum(w.mbyte for w in works):.4g} MB, "
                f"{sum(w.gflop for w in works):.3g} GFLOP",
                command="python -m bench predict",
            )


def _meta(x: Tensor, dtype: torch.dtype, *, channels_last: bool, trained: bool) -> Tensor:
    """``x`` without its numbers; images in the layout that the formulation is made for."""
    image = channels_last and x.dim() == 4
    form = torch.channels_last if image else torch.preserve_format
    floating = x.is_floating_point()
    x = x.to("meta", dtype if floating else x.dtype, memory_format=form)
    return x.requires_grad_(trained and floating)


def _least_gflop(measured: Measured, shape: Shape) -> float:
    if measured.operator.cost is not None:
        return measured.operator.cost(shape).gflop
    # STA's linear form, per element and recurrence: directions and features three times (for sums of rows and of columns, and at the
    # query), each feature then times two sources; R = 2.
    n = harmonics_for(MAX_ERROR)
    per_element = 3 * (15 + 4 * (n - 1) + 2 * (2 * n + 1))
    return 2 * 2 * per_element * shape["B"] * shape["N"] * shape["C"] / 1e9


def _with_products(works: list[Work], gflop: float) -> list[Work]:
    """Spreads the products that are inside our kernels over the launches, by their bytes."""
    total = sum(w.mbyte for w in works)
    return [Work(w.mbyte, gflop * w.mbyte / total) for w in works]


def write_predictions() -> list[Path]:
    """Writes a folder of rows for each GPU; returns the files."""
    everything = list(rows())
    return [
        path
        for gpu in GPUS
        for path in write_rows(
            (row for row in everything if row.device == gpu.device), ROOT / folder_of(gpu.device)
        )
    ]
