"""Operators: every formulation of each at the shapes of the models, forward, and forward with backward."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import product

import torch

from bench.contest import Field, contest
from bench.contestants import CASES
from bench.device import device, is_tiny
from bench.operators import DTYPE_NAMES, open_operator, provider_call
from bench.shapes import Shape


def call_of(
    name: str, provider: str, shape: Shape, backward: bool, dtype: torch.dtype
) -> Callable[[int], None]:
    """One provider's call, for the process in which its memory is measured."""
    return provider_call(CASES[name].operator, provider, shape, backward, dtype)


def _case(
    name: str, shape: Shape, dtype: torch.dtype, *, backward: bool, long: bool
) -> Callable[..., None]:
    measured = CASES[name]
    operator = measured.operator
    direction = "forward and backward" if backward else "forward"
    precision = "" if dtype == torch.float32 else f", {DTYPE_NAMES[dtype]}"

    def open_(_: ExitStack) -> Field:
        factory = partial(call_of, name)
        return open_operator(operator, shape, backward=backward, factory=factory, dtype=dtype)

    return contest(
        case=f"{name}, {shape.name}, {direction}{precision}",
        shape=shape.words,
        reference=operator.names[0],
        providers=operator.names,
        targets=measured.targets(shape, backward=backward),
        device=lambda: device().type,
        long=long,
    )(open_)


# Half precision where it is what models run in: a CPU without such instructions only emulates it.
HALVES = (torch.bfloat16,) if device().type == "cuda" or is_tiny() else ()


def _cases() -> Iterator[tuple[str, Callable[..., None]]]:
    for name, measured in CASES.items():
        directions = (False, True) if measured.backward else (False,)
        dtypes = (torch.float32, *(HALVES if measured.in_half else ()))
        for shape, dtype, backward in product(measured.shapes, dtypes, directions):
            words = (
                f"test {name} {shape.name} {DTYPE_NAMES[dtype]} {'both' if backward else 'forward'}"
            )
            # --quick has one shape and one direction of each, for compiling every formulation is most of its time; a dry run has both.
            long = (backward and not is_tiny()) or shape != measured.shapes[0]
            case = _case(name, shape, dtype, backward=backward, long=long)
            yield words.replace(" ", "_").replace("-", "_"), case


globals().update(_cases())
