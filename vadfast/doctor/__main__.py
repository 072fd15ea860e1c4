"""``python -m vadfast.doctor``: for every operator, which backends can run on this machine and which would be chosen."""

import json
import platform
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import psutil
import typer
from rich.console import Console
from rich.table import Table
from vadfast_kernels import _native

from vadfast.atomic import write_text
from vadfast.cli import Debug, JsonFile, run_command
from vadfast.doctor import contract
from vadfast.errors import UsageError
from vadfast.runtime.engine import cpu_features

if TYPE_CHECKING:
    from torch import Tensor

_SHAPE = re.compile(r"[1-9]\d{0,9}(x[1-9]\d{0,9})*")
_DTYPES = ("float32", "float16", "bfloat16", "float64")
# Instruction sets that decide which kernels a library picks.
_FEATURES = ("avx2", "avx512f", "avx512_vnni", "bf16", "amx_tile", "asimd")

# What the x86-64 psABI asks of a CPU of each level, as Linux names it.
_V3 = frozenset(("avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"))
_LEVELS = {
    "x86-64-v3": _V3,
    "x86-64-v4": _V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
}


def command(
    device: Annotated[
        str, typer.Option(help="Where the tensors would be: cpu, cuda, cuda:1.")
    ] = "auto",
    dtype: Annotated[
        str | None,
        typer.Option(
            help=f"Of the tensors, one of {', '.join(_DTYPES)}; none: float32, and uint8 where a call takes it."
        ),
    ] = None,
    operator: Annotated[str, typer.Option(help="This one alone; none: all of them.")] = "",
    shape: Annotated[
        list[str] | None,
        typer.Option(
            help="Of the operator's first argument, as 1x8x97x97; again: of the next. None: a typical call's."
        ),
    ] = None,
    json_file: JsonFile = None,
    debug: Debug = False,
) -> None:
    """Says for every operator, or for one and the shapes of a call, which backends can run, which ``auto`` takes, and why not another."""
    if dtype is not None and dtype not in _DTYPES:
        raise UsageError(f"--dtype: must be one of {', '.join(_DTYPES)}, got {dtype!r}")
    found = operators(_device(device), dtype, operator, tuple(shape or ()))
    document = {"machine": machine(), "operators": found}
    text = json.dumps(document, indent=1) + "\n"
    if json_file == Path("-"):
        print(text, end="")
        return
    if json_file is not None:
        try:
            write_text(json_file, text)
        except OSError as error:
            raise UsageError(
                f"--json: must be a file that can be written, got {json_file} ({error.strerror}); name another, or - for stdout"
            ) from error
    here = document["machine"]
    out = Console(highlight=False, soft_wrap=True)
    out.print(
        f"{here['cpu']}, {here['n_cpus']} CPUs, {', '.join(here['features']) or 'no features'}"
    )
    out.print(f"GPU: {here['gpu'] or 'none that torch can use'}")
    out.print(f"native core: {_words(here['native'])}")
    out.print(_table(document["operators"], f"{_device(device)}, {dtype or 'float32'}"))


def machine() -> dict[str, Any]:
    """Returns what decides which backends can run."""
    import torch

    return {
        "cpu": platform.processor() or platform.machine(),
        "n_cpus": psutil.cpu_count(),
        "features": [f for f in _FEATURES if f in cpu_features()],
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "native": _native.refusal() or _native.module().build_info(),
    }


def _words(native: str | dict[str, Any]) -> str:
    if isinstance(native, str):
        return f"none: it {native}"
    cuda = native["cuda"]
    levels = native["simd"].split(", ")
    simd = f"{native['simd']} (this CPU takes {_level(levels)})" if len(levels) > 1 else levels[0]
    with_cuda = f"CUDA {cuda['version']} for {cuda['architectures']}" if cuda else "no CUDA"
    return f"{native['compiler']}, {simd}, {with_cuda}"


def _level(levels: Sequence[str]) -> str:
    """The first of the core's variants that this CPU has every instruction set of: what the loader chose."""
    has = cpu_features()
    return next((level for level in levels if has >= _LEVELS.get(level, frozenset())), levels[-1])


def operators(
    device: str, dtype: str | None = None, operator: str = "", shapes: Sequence[str] = ()
) -> dict[str, list[dict[str, Any]]]:
    """Returns for each operator the verdict on each of its backends.

    Args:
        device: where the tensors would be.
        dtype: of the tensors; None: float32, and uint8 where a call takes it. Of a named operator the first has it, whatever it takes.
        operator: this one alone; empty: all.
        shapes: of its first arguments, each like ``1x8x97x97``; the others are those of a typical call.

    Raises:
        UsageError: there is no such operator, or its arguments do not have such shapes.
    """
    import torch
    from vadfast_kernels import ops

    known = ops.operators()
    if operator and operator not in known:
        raise UsageError(f"--operator: must be one of {', '.join(known)}, got {operator!r}")
    if shapes and not operator:
        raise UsageError("--shape: needs --operator, whose arguments it is of, got none; name one")
    found = {}
    for name in [operator] if operator else known:
        arguments = ops.sample(name, torch.device(device), getattr(torch, dtype or "float32"))
        if operator and dtype:
            arguments = (arguments[0].to(getattr(torch, dtype)), *arguments[1:])
        arguments = _shaped(name, arguments, shapes)
        found[name] = _verdicts(name, arguments)
    return found


def _verdicts(operator: str, arguments: "Sequence[Any]") -> list[dict[str, Any]]:
    from vadfast_kernels import ops

    # A call that raises before any backend is asked runs on none.
    wrong = contract.refusal(operator, [x for x in arguments if not isinstance(x, int)])
    return [
        {
            "backend": v.backend,
            "can_run": not (wrong or v.reason),
            "reason": wrong or v.reason,
            "chosen": v.chosen and not wrong,
        }
        for v in ops.explain(operator, *arguments)
    ]


def _shaped(
    operator: str, arguments: "Sequence[Tensor]", shapes: Sequence[str]
) -> "tuple[Tensor, ...]":
    """``arguments``, the first of them in other sizes."""
    n_tensors = sum(not isinstance(x, int) for x in arguments)  # they come first
    if len(shapes) > n_tensors:
        raise UsageError(
            f"--shape: must come at most {n_tensors} times for {operator}, came {len(shapes)} times"
        )
    given = []
    for text, like in zip(shapes, arguments, strict=False):
        sizes = [int(n) for n in text.split("x")] if _SHAPE.fullmatch(text) else []
        if len(sizes) != like.dim():
            usual = "x".join(map(str, like.shape))
            raise UsageError(
                f"--shape: must be {like.dim()} sizes above 0 as in {usual}, got {text!r}"
            )
        given.append(like.new_empty((1,)).expand(sizes))  # the sizes, and no memory
    return (*given, *arguments[len(given) :])


def _device(asked: str) -> str:
    import torch

    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(asked).type
    except RuntimeError as error:
        raise UsageError(f"--device: must be auto, cpu or cuda, got {asked!r}") from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            f"--device: must be on this machine, got {asked!r} and torch finds no GPU; use cpu"
        )
    return asked


def _table(found: dict[str, list[dict[str, Any]]], words: str) -> Table:
    table = Table(title=f"operators, {words}", title_justify="left")
    for column in ("operator", "backend", "verdict"):
        table.add_column(column, overflow="fold")
    for name, verdicts in found.items():
        for i, verdict in enumerate(verdicts):
            said = "would run" if verdict["chosen"] else "can run, by name"
            table.add_row("" if i else name, verdict["backend"], verdict["reason"] or said)
    return table


if __name__ == "__main__":
    run_command(command, name="doctor")
