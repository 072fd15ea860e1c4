"""One kernel as one call compiles it.

Builds are recorded, not described: an operator's own launcher runs on meta tensors, and each launch is kept as Triton would specialise
it. So what is compiled ahead of time is what a GPU would be given: the same constants, the same arguments known to be a multiple of 16
(without which no load is wide and no copy asynchronous), the same strides of 1 folded in.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

# How signatures name what kernels compute in.
DTYPES = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}


@dataclass(frozen=True, slots=True)
class Build:
    """A kernel, its arguments in order, and the launch that it was recorded from."""

    name: str
    kernel: Any
    types: dict[str, str]  # argument -> Triton's name of its type, "constexpr" for a constant
    constants: dict[str, Any]
    multiples: frozenset[str]  # arguments that are a multiple of 16
    n_warps: int
    n_stages: int
    max_registers: int | None
    grid: tuple[int, int, int]
    scalars: dict[str, int | float]

    def specialisation(self) -> tuple[object, ...]:
        """Returns what Triton compiles: builds that share it are one kernel."""
        return (
            self.kernel.__name__, tuple(self.types.items()), tuple(self.constants.items()),
            self.multiples, self.n_warps, self.n_stages, self.max_registers,
        )  # fmt: skip

    def arguments(self) -> list[str]:
        """Returns the names of what a launch passes, in order."""
        return [n for n in self.kernel.arg_names if self.types[n] != "constexpr"]


def recorded(where: str, call: Callable[[], object]) -> Iterator[Build]:
    """Yields a build for each kernel that ``call`` launches; ``call`` works on meta tensors, and nothing is run.

    A build is named for its kernel, for ``where`` and for the constants that are true.

    Raises:
        RuntimeError: kernels are interpreted in this process, or two launches differ and have one name.
    """
    found: dict[str, Build] = {}
    with launches() as kept:
        call()
    for kernel, grid, arguments, options in kept:
        build = _specialised(where, kernel, grid, arguments, options)
        if found.setdefault(build.name, build) != build:
            raise RuntimeError(f"two different launches are named {build.name!r}: name them apart")
    yield from found.values()


Launch = tuple[Any, tuple[int, ...], tuple[Any, ...], dict[str, Any]]


@contextmanager
def launches() -> Iterator[list[Launch]]:
    """Keeps what is launched, as (kernel, grid, arguments, options), instead of launching it."""
    from triton import knobs
    from triton.runtime.jit import JITFunction

    if knobs.runtime.interpret:
        raise RuntimeError(
            "kernels are compiled only where TRITON_INTERPRET is not set, and it is: unset it"
        )
    kept: list[Launch] = []

    def keep(
        kernel: Any, *arguments: Any, grid: tuple[int, ...], warmup: bool, **options: Any
    ) -> None:
        kept.append((kernel, grid, arguments, options))

    run = JITFunction.run
    JITFunction.run = keep
    try:
        yield kept
    finally:
        JITFunction.run = run


def _specialised(
    where: str, kernel: Any, grid: tuple[int, ...], arguments: tuple[Any, ...], options: dict[str, Any]
) -> Build:  # fmt: skip
    """What Triton makes of a launch, by its own rules (``JITFunction.run``)."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler.compiler import make_backend
    from triton.runtime.jit import create_function_from_signature

    backend = make_backend(GPUTarget("cuda", 80, 32))  # the rules are those of every architecture
    bind = create_function_from_signature(kernel.signature, kernel.params, backend)
    values, special, options = bind(*arguments, **options)
    types = {n: kind for n, (kind, _) in zip(values, special, strict=True)}
    multiples = frozenset(n for n, (_, hint) in zip(values, special, strict=True) if hint == "D")
    launch = backend.parse_options(options)
    constants = {n: v for n, v in values.items() if types[n] == "constexpr"}
    stem = kernel.__name__.strip("_").removesuffix("_kernel")
    x, y, z = (*grid, 1, 1)[:3]
    flags = [n.lower() for n, v in constants.items() if v is True]
    return Build(
        " ".join([stem, where, *flags]), kernel, types, constants, multiples, launch.num_warps,
        launch.num_stages, launch.maxnreg, (x, y, z),
        {n: v for n, v in values.items() if n not in constants and isinstance(v, int | float)},
    )  # fmt: skip
