"""What the operator suites share: an operator by its inputs and its providers, checked in float64, forward and backward."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bench.child import Factory, peak_mb
from bench.contest import Check, Field, Provider
from bench.cost import Cost
from bench.device import compiled, device, n_copies, shrunk, wait_for_device
from bench.shapes import Shape

Function = Callable[..., Tensor]
DTYPE_NAMES = {
    torch.float32: "fp32",
    torch.bfloat16: "bf16",
    torch.float16: "fp16",
    torch.uint8: "uint8",
}

# A float32 sum of n terms is off by about 1e-7 sqrt(n) of its size; below this an error says nothing about a formulation.
_FLOOR = 2e-6


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator: how to make its inputs, and everybody who computes it.

    Each provider runs as it is and through torch.compile. The first is the eager form that the tolerance rule measures
    against, and its float64 form is the truth.
    """

    inputs: Callable[[Shape, torch.Generator], tuple[Any, ...]]
    providers: dict[str, Function]
    cost: Callable[[Shape], Cost] | None  # of the forward pass; None: the least work is not known

    @property
    def names(self) -> tuple[str, ...]:
        """Of the ``variants``."""
        return tuple(n for name in self.providers for n in (name, f"{name}, compiled"))

    def variants(self) -> dict[str, Function]:
        """Every provider, with its compiled form beside it."""
        functions = (f for plain in self.providers.values() for f in (plain, compiled(plain)))
        return dict(zip(self.names, functions, strict=True))


def open_operator(
    operator: Operator,
    shape: Shape,
    *,
    backward: bool,
    factory: Factory,
    dtype: torch.dtype = torch.float32,
    variants: dict[str, Function] | None = None,
) -> Field:
    """Opens all providers of an operator at one shape; each result (and gradient) is checked against float64.

    Args:
        operator: the first of its providers is the eager form.
        shape: of its inputs.
        backward: whether gradients are computed too.
        factory: makes a provider's call from (provider, shape, backward, dtype) in another process, where its peak memory is
            measured.
        dtype: of the floating-point inputs, and of the eager form that the errors are measured by.
        variants: what is timed instead of every provider and its compiled form.
    """
    torch._dynamo.reset()  # or the shapes before would count against its limit of recompilations
    first = next(iter(operator.providers.values()))
    inputs = _inputs(operator, shape, dtype)
    exact = tuple(x.double() if _is_floating(x) else x for x in inputs)
    truth = _call(first, [exact], backward=backward)(0)
    rotating = _copies(inputs)
    scale = [max(float(t.abs().max()), 1e-30) for t in truth]

    def error(results: Sequence[Tensor]) -> float:
        pairs = zip(results, truth, scale, strict=True)
        return max(float((r.double() - t).abs().max()) / s for r, t, s in pairs)

    providers, refused = {}, {}
    for name, function in (variants or operator.variants()).items():
        try:
            call = _call(function, rotating, backward=backward)
            call(0)
        except RuntimeError as fault:
            # A form that cannot be compiled here, or does not fit, or says that it does not do this, is a row with its reason;
            # anything else is our mistake.
            expected = isinstance(fault, torch.OutOfMemoryError | NotImplementedError)
            if name in operator.providers and not expected:
                raise
            refused[name] = str(fault).strip().splitlines()[0][:200]
            continue
        # On the CPU another process measures it, and would have to compile a compiled form again.
        measurable = name in operator.providers or device().type == "cuda"
        peak = partial(_peak, call, factory, (name, shape, backward, dtype)) if measurable else None
        providers[name] = Provider(call, dtype=DTYPE_NAMES[dtype], peak_mb=peak)
    # The tolerance rule of the tests: gradients may be off by three times what eager's are.
    factor = 3 if backward else 2
    bound = factor * error(_call(first, [inputs], backward=backward)(0)) + _FLOOR

    def check(_: str, results: Sequence[Tensor]) -> Check:
        return Check(error(results), bound, "of the largest value")

    cost = None if backward or operator.cost is None else operator.cost(shape)
    return Field(providers, check, refused, cost)


def _peak(call: Callable[[int], object], factory: Factory, arguments: tuple[Any, ...]) -> float:
    """By how many MB one call raises the memory of its device at most."""
    if device().type != "cuda":
        return peak_mb(factory, *arguments)
    call(0)
    wait_for_device()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call(0)
    wait_for_device()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def provider_call(
    operator: Operator, provider: str, shape: Shape, backward: bool, dtype: torch.dtype
) -> Callable[[int], None]:
    """A provider's call for another process: it returns nothing, because tensors are not what is wanted from there."""
    inputs = _inputs(operator, shape, dtype)
    call = _call(operator.providers[provider], [inputs], backward=backward)

    def silent(i: int) -> None:
        call(i)

    return silent


def _inputs(operator: Operator, shape: Shape, dtype: torch.dtype) -> tuple[Any, ...]:
    made = operator.inputs(shrunk(shape), torch.Generator().manual_seed(0))
    moved = (x.to(device()) if isinstance(x, Tensor) else x for x in made)
    return tuple(x.to(dtype) if _is_floating(x) else x for x in moved)


def _copies(inputs: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """``inputs`` as often as the device's cache asks for; copies hold the same numbers, so every call has the same result."""
    size = sum(x.numel() * x.element_size() for x in inputs if isinstance(x, Tensor))
    return [
        inputs,
        *(
            tuple(x.clone() if isinstance(x, Tensor) else x for x in inputs)
            for _ in range(n_copies(size) - 1)
        ),
    ]


def _call(
    function: Function, rotating: Sequence[tuple[Any, ...]], *, backward: bool
) -> Callable[[int], list[Tensor]]:
    """Forward alone, or forward and backward to every floating-point input; returns the output and the gradients."""

    def forward(i: int) -> list[Tensor]:
        with torch.no_grad():
            return [function(*rotating[i % len(rotating)])]

    if not backward:
        return forward
    for inputs in rotating:
        for leaf in leaves(inputs):
            leaf.requires_grad_(True)
    out = function(*rotating[0])
    # The gradient that flows in is made once: it is the benchmark's, not the operator's work.
    grad = torch.linspace(-1, 1, out.numel(), dtype=out.dtype, device=out.device).view_as(out)

    def both(i: int) -> list[Tensor]:
        inputs = rotating[i % len(rotating)]
        out = function(*inputs)
        gradients = torch.autograd.grad(out, leaves(inputs), grad, allow_unused=True)
        return [out.detach(), *(g for g in gradients if g is not None)]

    return both


def leaves(inputs: Sequence[Any]) -> list[Tensor]:
    """Returns the inputs that have a gradient: those of floating-point numbers."""
    return [x for x in inputs if _is_floating(x)]


def _is_floating(x: object) -> bool:
    return isinstance(x, Tensor) and x.is_floating_point()
