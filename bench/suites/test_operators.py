"""Operators: every formulation of each at the shapes of the models, forward, and forward with backward."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

import torch

from bench.contest import Field, contest
from bench.contestants import CASES, Case, all_cases
from bench.device import device, is_quick, is_tiny
from bench.operators import Operator, open_operator, provider_call
from bench.shapes import Shape


def call_of(
    name: str, provider: str, shape: Shape, backward: bool, dtype: torch.dtype
) -> Callable[[int], None]:
    """One provider's call, for the process in which its memory is measured."""
    return provider_call(CASES[name].operator, provider, shape, backward, dtype)


def _names(operator: Operator) -> tuple[str, ...]:
    """Every formulation and its compiled form; --quick compiles the reference alone, for compiling is most of the time."""
    if not is_quick() or is_tiny():
        return operator.names
    return (*operator.providers, f"{operator.names[0]}, compiled")


def _contest(case: Case) -> Callable[..., None]:
    operator, shape, backward = case.measured.operator, case.shape, case.backward
    names = _names(operator)
    precision = "" if case.dtype == torch.float32 else f", {case.precision}"

    def open_(_: ExitStack) -> Field:
        factory = partial(call_of, case.name)
        variants = operator.variants()
        return open_operator(
            operator,
            shape,
            backward=backward,
            factory=factory,
            dtype=case.dtype,
            variants={name: variants[name] for name in names},
        )

    return contest(
        case=f"{case.name}, {shape.name}, {case.direction}{precision}",
        shape=shape.words,
        reference=operator.names[0],
        providers=names,
        targets=case.measured.targets(shape, backward=backward),
        device=lambda: device().type,
        # --quick has one shape and one direction of each; a dry run has both directions.
        long=(backward and not is_tiny()) or shape != case.measured.shapes[0],
    )(open_)


# Half precision where it is what models run in: a CPU without such instructions only emulates it.
HALVES = (torch.bfloat16,) if device().type == "cuda" or is_tiny() else ()


def _contests() -> Iterator[tuple[str, Callable[..., None]]]:
    for case in all_cases(*HALVES):
        direction = "both" if case.backward else "forward"
        words = f"test {case.name} {case.shape.name} {case.precision} {direction}"
        yield words.replace(" ", "_").replace("-", "_"), _contest(case)


globals().update(_contests())
