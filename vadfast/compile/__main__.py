"""``python -m vadfast.compile RUN --out NAME.vad``: a training run becomes a bundle without torch."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vadfast.cli import Debug, JsonFile, run_command

if TYPE_CHECKING:
    from vadfast.compile.plan import Options


def command(
    run: Annotated[Path, typer.Argument(help="Run directory written by vadfast.train.")],
    out: Annotated[
        Path,
        typer.Option(
            help="The bundle to write: NAME.vad (a folder) or NAME.vad.zip (one file); an existing one is replaced."
        ),
    ],
    target: Annotated[str, typer.Option(help="Where it will run: auto or cpu.")] = "auto",
    precision: Annotated[
        str, typer.Option(help="auto (the fastest that passes the gate), fp32 or bf16.")
    ] = "auto",
    calibrate: Annotated[
        Path | None, typer.Option(help="Normal video; default: what training held out.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Labelled set for the AUC of the gate; default: the run's own."),
    ] = None,
    ship: Annotated[
        str,
        typer.Option(
            help="What may ship: mnn, openvino, onnxruntime, inductor, eager (the last two need torch)."
        ),
    ] = "mnn,openvino,onnxruntime",
    rounds: Annotated[int, typer.Option(min=3, help="Rounds of the race.")] = 15,
    gate_windows: Annotated[
        int, typer.Option(min=24, help="Real windows that the gate compares with eager float32.")
    ] = 96,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads; default: each engine's own.")
    ] = None,
    sign: Annotated[
        Path | None,
        typer.Option(help="Private ed25519 key (PEM) to sign with; default: this machine's own."),
    ] = None,
    json_file: JsonFile = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and stop.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Exports a trained model, races the engines of this machine, gates and calibrates them, and writes a bundle."""
    from rich.console import Console

    from vadfast.compile.build import Options, build_bundle, plan_build
    from vadfast.compile.report import print_report
    from vadfast.errors import GateError, UsageError
    from vadfast.evaluate.subject import scores_bags

    options = Options(
        target=target,
        precision=precision,
        calibrate=calibrate,
        data=data,
        ship=tuple(name.strip() for name in ship.split(",") if name.strip()),
        rounds=rounds,
        gate_windows=gate_windows,
        threads=threads,
        sign=sign,
    )
    if scores_bags(run):
        if dry_run or options != Options(data=data, sign=sign):
            raise UsageError(
                f"compile: {run} scores bags of features, which one engine does in milliseconds: it takes --out, --data (features to "
                "compare scores on), --sign and --json alone; leave the others out"
            )
        _compile_bags(run, out, options, json_file)
        return
    if dry_run:
        for line in plan_build(run, out, options).words():
            typer.echo(line)
        return
    try:
        report = build_bundle(run, out, options)
    except GateError as error:
        _write_json(error.document, json_file)
        raise
    _write_json(report.to_json(), json_file)
    if json_file == Path("-"):
        return
    print_report(report, Console(highlight=False))
    whose = "this machine's key" if sign is None else str(sign)
    typer.echo(
        f"wrote {out} ({report.size / 1e6:.1f} MB), signed with {whose} {report.signer[:16]}; next: python -m vadfast.score {out} VIDEO"
    )


def _compile_bags(run: Path, out: Path, options: "Options", json_file: Path | None) -> None:
    from vadfast.compile.bags import build_bag_bundle
    from vadfast.errors import GateError

    try:
        report = build_bag_bundle(run, out, options.data, options.sign)
    except GateError as error:
        _write_json(error.document, json_file)
        raise
    _write_json(report.to_json(), json_file)
    if json_file != Path("-"):
        gate = report.gate
        typer.echo(
            f"wrote {out} ({report.size / 1e6:.1f} MB): scores of {gate['n_bags']} bags within {gate['max_score_error']:.2g} of eager "
            f"float32, {gate['median_ms']:.3g} ms a bag; next: python -m vadfast.evaluate {out} --data DIR"
        )


def _write_json(document: dict[str, Any], file: Path | None) -> None:
    from vadfast.atomic import write_text

    text = json.dumps(document, indent=2) + "\n"
    if file == Path("-"):
        typer.echo(text, nl=False)
    elif file is not None:
        write_text(file, text)


if __name__ == "__main__":
    run_command(command, name="compile")
