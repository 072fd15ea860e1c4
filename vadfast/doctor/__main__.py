"""``python -m vadfast.doctor [BUNDLE]``: what this machine would run and why not something faster; with a bundle, how many cameras.

With a bundle torch is never imported: the command is for the camera box. Without one it judges the operators, which are torch's.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from vadfast.atomic import write_text
from vadfast.cli import (
    AllowUnsigned,
    Debug,
    JsonFile,
    TrustKeys,
    check_bundle,
    check_writable,
    run_command,
    starting,
    talk,
)
from vadfast.doctor.capacity import UTILISATION
from vadfast.doctor.nvidia import nvidia, nvidia_words
from vadfast.errors import BundleError, UsageError
from vadfast.machine import machine, native_words, torch_gpu
from vadfast.runtime.tensorrt.gpu import gpu_name

_DTYPES = ("float32", "float16", "bfloat16", "float64")
_ROUNDS = 15


def command(
    context: typer.Context,
    bundle: Annotated[
        Path | None,
        typer.Argument(
            help="A bundle to examine here; none: the operators that models train with."
        ),
    ] = None,
    trust: TrustKeys = None,
    allow_unsigned: AllowUnsigned = False,
    video: Annotated[
        Path | None,
        typer.Option(
            help="With BUNDLE: a film of your camera, to measure decoding on; none: clips are made."
        ),
    ] = None,
    utilisation: Annotated[
        float,
        typer.Option(
            min=0.05,
            max=1.0,
            help="With BUNDLE: the share of this machine's time and free memory that cameras may take.",
        ),
    ] = UTILISATION,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, help="With BUNDLE: CPU threads of the engine; default: its own choice."
        ),
    ] = None,
    rounds: Annotated[
        int, typer.Option(min=3, help="With BUNDLE: how often each engine is timed.")
    ] = _ROUNDS,
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
    """Says which operators run here and why not faster ones; of a BUNDLE, whether it runs and scores right here, and for how many cameras."""
    _refuse_the_others(context, bundle)
    check_writable("--json", json_file)
    if bundle is None:
        _judge_operators(device, dtype, operator, shape or [], json_file)
        return
    check_bundle(bundle)
    with starting(f"examining {bundle}: seals, engines, decoding", json_file):
        from vadfast.doctor.films import check_film
        from vadfast.doctor.tables import print_verdict
        from vadfast.doctor.verdict import judge, refused
        from vadfast.runtime.signature import Trust

        if video is not None:
            check_film(video)
    here = machine(gpu_name())
    try:
        found = judge(
            bundle,
            trust=Trust(tuple(trust or ()), allow_unsigned),
            video=video,
            threads=threads,
            rounds=rounds,
            utilisation=utilisation,
        )
    except BundleError as error:
        _write(_document(here, bundle=refused(bundle, error)), json_file)
        raise
    document = _document(here, bundle=found)
    if _write(document, json_file):
        out = Console(highlight=False, soft_wrap=True)
        _print_machine(document, out, "none that the NVIDIA driver shows")
        print_verdict(found, out)
    if found["fault"] is not None:
        talk.print(f"error: {found['fault']}", markup=False)
        raise typer.Exit(1)


# What only one of the two examinations reads.
_OF_A_BUNDLE = ("trust", "allow_unsigned", "video", "utilisation", "threads", "rounds")
_OF_OPERATORS = ("device", "dtype", "operator", "shape")


def _refuse_the_others(context: typer.Context, bundle: Path | None) -> None:
    """An option that would not be read is a mistake of whoever gave it."""
    for name in _OF_A_BUNDLE if bundle is None else _OF_OPERATORS:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            option = f"--{name.replace('_', '-')}"
            if bundle is None:
                raise UsageError(
                    f"{option}: needs a bundle to examine, got none; name it: python -m vadfast.doctor NAME.vad"
                )
            raise UsageError(
                f"{option}: is about operators, and {bundle} is a bundle; leave out one of them"
            )


def _judge_operators(
    device: str, dtype: str | None, operator: str, shape: list[str], json_file: Path | None
) -> None:
    if dtype is not None and dtype not in _DTYPES:
        raise UsageError(f"--dtype: must be one of {', '.join(_DTYPES)}, got {dtype!r}")
    with starting("loading PyTorch and the operators", json_file):
        from vadfast.doctor.operators import device_of, operator_table, operators

        where = device_of(device)
        found = operators(where, dtype, operator, shape)
        here = machine(torch_gpu())
    document = _document(here, operators=found)
    if _write(document, json_file):
        out = Console(highlight=False, soft_wrap=True)
        _print_machine(document, out, "none that torch can use")
        out.print(operator_table(found, f"{where}, {dtype or 'float32'}"))


def _document(
    here: dict[str, Any],
    *,
    operators: dict[str, Any] | None = None,
    bundle: dict[str, Any] | None = None,
) -> dict[str, Any]:
    # Asked last: TensorRT and CuPy are imported for it, and memory of the process was measured before.
    return {
        "machine": here,
        "nvidia": nvidia(),
        "operators": operators or {},
        "bundle": bundle or {},
    }


def _write(document: dict[str, Any], json_file: Path | None) -> bool:
    """Writes ``document``; returns whether standard output is left for people."""
    text = json.dumps(document, indent=1) + "\n"
    if json_file == Path("-"):
        print(text, end="")
        return False
    if json_file is not None:
        write_text(json_file, text)
    return True


def _print_machine(document: dict[str, Any], out: Console, no_gpu: str) -> None:
    here = document["machine"]
    out.print(
        f"{here['cpu']}, {here['n_cpus']} CPUs, {', '.join(here['features']) or 'no features'}",
        markup=False,
    )
    out.print(f"GPU: {here['gpu'] or no_gpu}", markup=False)
    out.print(f"NVIDIA: {nvidia_words(document['nvidia'])}", markup=False)
    out.print(f"native core: {native_words(here['native'])}", markup=False)


if __name__ == "__main__":
    run_command(command, name="doctor")
