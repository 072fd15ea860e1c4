"""``python -m vadfast.doctor``: for every operator, which backends can run on this machine and which would be chosen."""

import json
import platform
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer
from rich.table import Table

from vadfast.atomic import write_text
from vadfast.cli import Debug, JsonFile, run_command, talk
from vadfast.errors import UsageError
from vadfast.runtime.engine import cpu_features

_DTYPES = ("float32", "float16", "bfloat16", "float64")
# Instruction sets that decide which kernels a library picks.
_FEATURES = ("avx2", "avx512f", "avx512_vnni", "bf16", "amx_tile", "asimd")


def command(
    device: Annotated[
        str, typer.Option(help="Where the tensors would be: cpu, cuda, cuda:1.")
    ] = "auto",
    dtype: Annotated[str, typer.Option(help=f"One of {', '.join(_DTYPES)}.")] = "float32",
    json_file: JsonFile = None,
    debug: Debug = False,
) -> None:
    """Says for every operator and a typical call which backends can run, which one ``auto`` takes, and why not another."""
    if dtype not in _DTYPES:
        raise UsageError(f"--dtype: must be one of {', '.join(_DTYPES)}, got {dtype!r}")
    document = {"machine": machine(), "operators": operators(_device(device), dtype)}
    text = json.dumps(document, indent=1) + "\n"
    if json_file == Path("-"):
        print(text, end="")
        return
    if json_file is not None:
        write_text(json_file, text)
    here = document["machine"]
    talk.print(
        f"{here['cpu']}, {here['n_cpus']} CPUs, {', '.join(here['features']) or 'no features'}"
    )
    talk.print(f"GPU: {here['gpu'] or 'none that torch can use'}")
    talk.print(_table(document["operators"], f"{_device(device)}, {dtype}"))


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
    }


def operators(device: str, dtype: str) -> dict[str, list[dict[str, Any]]]:
    """Returns for each operator the verdict on each of its backends."""
    import torch
    from vadfast_kernels import ops

    found = {}
    for name in ops.operators():
        arguments = ops.sample(name, torch.device(device), getattr(torch, dtype))
        found[name] = [
            {"backend": v.backend, "can_run": not v.reason, "reason": v.reason, "chosen": v.chosen}
            for v in ops.explain(name, *arguments)
        ]
    return found


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
