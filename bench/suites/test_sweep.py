"""The kernels' tile sizes: the rule of ``tuned.py`` against every neighbour of it, one number changed at a time.

Run it on a GPU and change the rule where a neighbour wins beyond the noise. Elsewhere there is nothing to measure: the
interpreter of a dry run shows only that every neighbour computes the same.
"""

import importlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import fields, replace
from functools import partial
from itertools import product
from typing import Any

import pytest
import torch
from vadfast_kernels import ops

from bench import contestants
from bench.contest import Field, contest
from bench.contestants import CASES
from bench.device import device, is_tiny
from bench.operators import DTYPE_NAMES, Function, open_operator
from bench.shapes import Shape
from bench.suites import test_operators

pytestmark = pytest.mark.skipif(
    device().type != "cuda" and not is_tiny(), reason="tile sizes are those of a GPU; none is here"
)

DTYPES = (torch.bfloat16, torch.float32)
WARPS, STAGES = (2, 4, 8), (1, 2, 3, 4)
BASE = "the rule"
Change = Callable[[Any], Any]
# How the suite of operators names one -> its kernels' package, its rules in tuned.py, sides that must hold a whole axis, its call.
SWEPT: dict[str, tuple[str, tuple[str, ...], tuple[str, ...], Function]] = {
    "criss-cross attention": (
        "criss_cross_attention", ("block_sizes",), ("d", "max_registers"), ops.criss_cross_attention
    ),
    "attention loss": ("attention_loss", ("block_sizes",), (), contestants.fused_adl_loss),
    "variance attention": (
        "variance_attention", ("tile_of", "block_sizes"), ("cell",), contestants.fused_variance
    ),
    "prototype attention": (
        "prototype_attention", ("block_sizes",), ("m",), contestants.fused_prototype
    ),
}  # fmt: skip


def neighbours(name: str) -> dict[str, tuple[str, Change]]:
    """What is tried beside every rule of operator ``name``: (rule, change of its result) by a name."""
    package, rules, whole, _ = SWEPT[name]
    tuned = importlib.import_module(f"vadfast_kernels.{package}.tuned")
    found = {}
    for rule in rules:
        sides = [f.name for f in fields(getattr(tuned, rule).__annotations__["return"])]
        for words, change in _changes([side for side in sides if side not in whole]):
            found[words if len(rules) == 1 else f"{rule}: {words}"] = (rule, change)
    # The interpreter takes seconds for a call; two neighbours show that the way is there.
    return dict(list(found.items())[:2]) if is_tiny() else found


def _changes(sides: list[str]) -> Iterator[tuple[str, Change]]:
    for side in sides:
        if side == "n_warps":
            yield from ((f"{n} warps", partial(replace, n_warps=n)) for n in WARPS)
        elif side == "n_stages":
            yield from ((f"{n} stages", partial(replace, n_stages=n)) for n in STAGES)
        else:
            yield f"{side} halved", partial(_scaled, side, 0.5)
            yield f"{side} doubled", partial(_scaled, side, 2.0)


def _scaled(side: str, factor: float, blocks: Any) -> Any:
    return replace(blocks, **{side: max(1, int(getattr(blocks, side) * factor))})


def _open(name: str, shape: Shape, dtype: torch.dtype, *, backward: bool) -> Field:
    operator = CASES[name].operator
    eager, plain = next(iter(operator.providers.items()))
    package, _, _, function = SWEPT[name]
    by_triton = partial(function, backend="triton")
    tried = neighbours(name)
    opened = open_operator(
        operator,
        shape,
        backward=backward,
        factory=partial(test_operators.call_of, name),
        dtype=dtype,
        variants={eager: plain} | dict.fromkeys((BASE, *tried), by_triton),
    )
    for words, (rule, change) in tried.items():
        provider = opened.providers[words]
        under = partial(_under, package, rule, change, provider.call)
        opened.providers[words] = replace(provider, call=under, peak_mb=None)
    return opened


def _under(package: str, rule: str, change: Change, call: Callable[[int], Any], i: int) -> Any:
    """Makes ``call(i)``, forward and backward, with ``change`` applied to whatever ``rule`` returns to the kernels' launches."""
    module = importlib.import_module(f"vadfast_kernels.{package}.triton_impl")
    original = getattr(module, rule)
    setattr(module, rule, lambda *arguments: change(original(*arguments)))
    try:
        return call(i)
    finally:
        setattr(module, rule, original)


def _case(
    name: str, shape: Shape, dtype: torch.dtype, *, backward: bool, long: bool
) -> Callable[..., None]:
    def open_(_: ExitStack) -> Field:
        return _open(name, shape, dtype, backward=backward)

    eager = next(iter(CASES[name].operator.providers))
    direction = "forward and backward" if backward else "forward"
    return contest(
        case=f"tiles of {name}, {shape.name}, {direction}, {DTYPE_NAMES[dtype]}",
        shape=shape.words,
        reference=BASE,
        providers=(eager, BASE, *neighbours(name)),
        device=lambda: device().type,
        long=long,
    )(open_)


def _cases() -> Iterator[tuple[str, Callable[..., None]]]:
    for name in SWEPT:
        shapes = CASES[name].shapes
        for shape, dtype, backward in product(shapes, DTYPES, (False, True)):
            # What fits beside the other stages of gpu_check: the operator that APN's time goes to, at its middle level.
            short = shape.name == "apn level 2" and dtype == torch.bfloat16
            words = (
                f"test {name} {shape.name} {DTYPE_NAMES[dtype]} {'both' if backward else 'forward'}"
            )
            case = _case(name, shape, dtype, backward=backward, long=not short)
            yield words.replace(" ", "_").replace("-", "_"), case


globals().update(_cases())
