"""``python -m vadfast.compile RUN --out NAME.vad``: a training run becomes a bundle without torch."""

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vadfast.cli import Debug, JsonFile, check_writable, run_command, starting, talk

if TYPE_CHECKING:
    from vadfast.compile.evidence import Evidence
    from vadfast.compile.module import ModuleSpec
    from vadfast.compile.plan import Options


def command(
    out: Annotated[
        Path,
        typer.Option(
            help="The bundle to write: NAME.vad (a folder) or NAME.vad.zip (one file); an existing one is replaced."
        ),
    ],
    run: Annotated[
        Path | None, typer.Argument(help="Run directory written by vadfast.train, or --module.")
    ] = None,
    module: Annotated[
        str | None,
        typer.Option(
            metavar="PACKAGE.MODULE:FACTORY",
            help="Instead of RUN: a function of yours that returns a trained network as a vadfast.compile.ModuleSpec.",
        ),
    ] = None,
    target: Annotated[
        str,
        typer.Option(
            help="Where it will run: auto, cpu, or on an NVIDIA GPU: tensorrt, or cuda (with torch)."
        ),
    ] = "auto",
    precision: Annotated[
        str,
        typer.Option(
            help="auto (the fastest that passes the gate), fp32, bf16, fp16, int8 or int8-bf16."
        ),
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
            help="What may ship: mnn, openvino, onnxruntime, tensorrt, tensorrt-plugin, and with torch inductor, cuda, cuda-inductor, eager."
        ),
    ] = "mnn,openvino,onnxruntime,tensorrt",
    batch: Annotated[
        str,
        typer.Option(
            help="Windows a call takes: 1 for a camera, a ladder like 1,2,4,8 for many; an engine of each ships."
        ),
    ] = "1",
    rounds: Annotated[int, typer.Option(min=3, help="Rounds of the race.")] = 15,
    gate: Annotated[
        str | None,
        typer.Option(
            metavar="NAME=VALUE,...",
            help="Bounds in place of the usual ones, of every precision: dB, sd, correlation, auc, heatmap, alerts.",
        ),
    ] = None,
    gate_windows: Annotated[
        int | None,
        typer.Option(
            min=24,
            help="Real windows that the gate compares with eager float32; default: 64 of 256 px, more of smaller ones.",
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="CPU threads of every engine, also where the bundle runs, if it has as many CPUs; default: measured before the race.",
        ),
    ] = None,
    false_alarms: Annotated[
        str | None,
        typer.Option(
            help="How many the alert threshold shall allow a camera, as 1/day or 2/week; default: a quantile of normal scores."
        ),
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(
            min=0.01, help="Frames a second of the cameras; default: of the training video."
        ),
    ] = None,
    sign: Annotated[
        Path | None,
        typer.Option(help="Private ed25519 key (PEM) to sign with; default: this machine's own."),
    ] = None,
    output: Annotated[
        str,
        typer.Option(
            "--format",
            help="bundle, or triton-repository: --out is then a model repository of Triton Inference Server.",
        ),
    ] = "bundle",
    report_file: Annotated[
        Path | None,
        typer.Option(
            "--report", metavar="FILE.html", help="Write the run as one page, with pictures."
        ),
    ] = None,
    json_file: JsonFile = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and stop.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Exports a trained model, races the engines of this machine, gates and calibrates them, and writes a bundle."""
    from rich.console import Console

    from vadfast.errors import GateError, UsageError

    with starting("loading PyTorch and the engines", json_file):
        from vadfast.compile.build import Options, build_bundle, plan_build
        from vadfast.compile.evidence import Evidence
        from vadfast.compile.plan import parse_ladder
        from vadfast.compile.report import print_report
        from vadfast.evaluate.subject import scores_bags

    if (run is None) == (module is None):
        given = "neither" if run is None else "both"
        raise UsageError(
            f"compile: takes RUN or --module PACKAGE.MODULE:FACTORY, got {given}; see --help"
        )
    if dry_run and report_file is not None:
        raise UsageError(
            f"--report: {report_file} would show what was run, and --dry-run runs nothing; leave one of them out (--json writes the plan)"
        )
    options = Options(
        target=target,
        precision=precision,
        calibrate=calibrate,
        data=data,
        ship=tuple(name.strip() for name in ship.split(",") if name.strip()),
        batches=parse_ladder(batch),
        rounds=rounds,
        gate=gate,
        gate_windows=gate_windows,
        threads=threads,
        false_alarms=false_alarms,
        fps=fps,
        sign=sign,
        format=output,
    )
    if run is not None and scores_bags(run):
        if dry_run or report_file or options != Options(data=data, sign=sign):
            raise UsageError(
                f"compile: {run} scores bags of features, which one engine does in milliseconds: it takes --out, --data (features to "
                "compare scores on), --sign and --json alone; leave the others out"
            )
        _compile_bags(run, out, options, json_file)
        return
    check_writable("--report", report_file)
    check_writable("--json", json_file)
    source = _source(run, module)
    if dry_run:
        from vadfast.compile.dry_run import foresee, words

        foreseen = foresee(plan_build(source, out, options))
        _write_json(foreseen, json_file)
        if json_file != Path("-"):
            typer.echo("\n".join(words(foreseen)))
        return
    evidence = Evidence()
    try:
        report = build_bundle(source, out, options, evidence)
    except GateError as error:
        _write_json(error.document, json_file)
        _write_report(error.document, evidence, report_file)
        raise
    _write_json(report.to_json(), json_file)
    _write_report(report.to_json(), evidence, report_file)
    if json_file == Path("-"):
        return
    print_report(report, Console(highlight=False))
    whose = "this machine's key" if sign is None else str(sign)
    following = (
        f"python -m vadfast.score {out} VIDEO"
        if output == "bundle"
        else f"tritonserver --model-repository {out}"
    )
    typer.echo(
        f"wrote {report.bundle} ({report.size / 1e6:.1f} MB), signed with {whose} {report.signer[:16]}; next: {following}"
    )
    assert report.bundle is not None  # what is not written raises
    _say_copyleft(report.bundle)


def _source(run: Path | None, module: str | None) -> "Path | ModuleSpec":
    if module is None:
        assert run is not None  # one of both was given
        return run
    from vadfast.compile.module import load_module

    return load_module(module)


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
        _say_copyleft(out)


def _say_copyleft(bundle: Path) -> None:
    from vadfast.compile.copyleft import copyleft_words

    words = copyleft_words(bundle)
    if words is not None:
        typer.echo(words)


def _write_report(document: dict[str, Any], evidence: "Evidence", file: Path | None) -> None:
    if file is not None:
        from vadfast.compile.html_report import write_report
        from vadfast.errors import without_logins

        typed = shlex.join(map(without_logins, sys.orig_argv))
        write_report(document, evidence, file, command_line=typed)
        talk.print(f"report: {file}", markup=False)


def _write_json(document: dict[str, Any], file: Path | None) -> None:
    from vadfast.atomic import write_text

    text = json.dumps(document, indent=2) + "\n"
    if file == Path("-"):
        typer.echo(text, nl=False)
    elif file is not None:
        write_text(file, text)


if __name__ == "__main__":
    run_command(command, name="compile")
