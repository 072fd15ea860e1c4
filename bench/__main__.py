"""``python -m bench run [SUITE...]``: measures suites on this machine and writes ``bench/results/<device>/``."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NoReturn

import pytest
import typer
from rich.table import Table

from bench.compare import compare as compare_rows
from bench.device import QUICK, is_tiny
from bench.machine import (
    folder_of,
    is_busy,
    load_average,
    this_machine,
    wait_until_idle,
)
from bench.plot import plot_results
from bench.report import ratio_words, value_words, write_report
from bench.results import ROOT, Row, read_rows
from vadfast.cli import Debug, run_command, talk
from vadfast.errors import UsageError, VadfastError

SUITES = Path(__file__).parent / "suites"
WAIT_LIMIT_S = 600.0


def run(
    suites: Annotated[list[str] | None, typer.Argument(help="Suites; none: all of them.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer rounds, and nothing that takes minutes.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the rows instead of bench/results/<device>.")
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="On a busy machine wait up to ten minutes.")
    ] = False,
    only: Annotated[str, typer.Option("-k", help="Cases whose name matches (as pytest -k).")] = "",
    debug: Debug = False,
) -> None:
    """Verifies and times every provider of the suites; exit code 1 where one with a target was wrong or a suite failed."""
    known = sorted(path.stem.removeprefix("test_") for path in SUITES.glob("test_*.py"))
    for suite in suites or ():
        if suite not in known:
            raise UsageError(f"suite must be one of {', '.join(known)}, got {suite!r}")
    if is_tiny() and out is None:
        raise UsageError(
            "--out must name a folder in a dry run, whose numbers mean nothing; got none"
        )
    os.environ[QUICK] = "1" if quick else "0"
    machine = this_machine()
    talk.print(f"{machine.gpu or machine.device()}; load average {load_average()}")
    if is_busy() and not (wait and wait_until_idle(WAIT_LIMIT_S)):
        talk.print("[yellow]the machine is busy[/]: rows will say so; --wait waits for it")
    arguments = [str(SUITES / f"test_{suite}.py") for suite in suites or known]
    options = ["-q", "-rs", "-s", "--timeout=0", "--benchmark-columns=median,iqr,rounds"]
    options += [
        *([f"--results={out}"] if out else []),
        *(["-k", only] if only else []),
    ]
    code = pytest.main([*arguments, *options])
    folders = [out] if out else [ROOT / folder_of(machine.device(kind)) for kind in ("cuda", "cpu")]
    for path in dict.fromkeys(f / f"{suite}.json" for f in folders for suite in suites or known):
        if path.exists():
            talk.print(table_of(path.stem, read_rows(path)))
    if code:
        raise VadfastError(f"pytest ended with {code!s}; the failing cases are named above")


def table_of(suite: str, rows: list[Row]) -> Table:
    """The rows of one suite for a person."""
    table = Table(title=f"{suite}, load {max(r.load for r in rows):.1f}", title_justify="left")
    for column in ("case", "provider", "result", "against", "verified, notes"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(
            row.case,
            f"{row.provider} {row.dtype}".strip(),
            value_words(row),
            ratio_words(row),
            "; ".join(text for text in (row.verified, row.note) if text),
        )
    return table


def machine(debug: Debug = False) -> None:
    """Prints what the numbers of this machine would stand for, as JSON."""
    print(json.dumps(this_machine().to_json(), indent=1))


def compare(
    base: Annotated[
        Path, typer.Argument(help="Rows before: a results folder or one of its files.")
    ],
    new: Annotated[Path, typer.Argument(help="Rows after.")],
    debug: Debug = False,
) -> None:
    """Says what changed between two sets of rows; exit code 1 where something became slower or worse beyond the noise."""
    changes = compare_rows(base, new)
    table = Table(title=f"{base} -> {new}", title_justify="left")
    for column in ("case", "provider", "change", ""):
        table.add_column(column, overflow="fold")
    for change in changes:
        verdict = "[bold red]regressed[/]" if change.regressed else ""
        table.add_row(change.new.case, change.new.provider, change.words, verdict)
    talk.print(table)
    n_regressed = sum(change.regressed for change in changes)
    if n_regressed:
        raise VadfastError(
            f"compare: {n_regressed} of {len(changes)} rows regressed, see the table"
        )


def plot(
    folder: Annotated[
        Path | None, typer.Argument(help="Results folder; none: that of this machine.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Draws speed-up bars and rooflines of one device's rows."""
    for path in plot_results(folder or ROOT / folder_of(this_machine().device())):
        talk.print(f"wrote {path}")


def report(debug: Debug = False) -> None:
    """Writes docs/benchmarks.md and the table of the README from the committed rows."""
    for path in write_report():
        talk.print(f"wrote {path}")


def predict(debug: Debug = False) -> None:
    """Writes rows for GPUs that are not here, by counting bytes and launches: predicted, never measured."""
    from bench.predict import write_predictions  # Triton must be there, and not interpreted

    for path in write_predictions():
        talk.print(f"wrote {path}")


COMMANDS: dict[str, Callable[..., None]] = {
    "run": run,
    "compare": compare,
    "machine": machine,
    "plot": plot,
    "predict": predict,
    "report": report,
}


def main() -> NoReturn:
    """``python -m bench NAME ...``."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in COMMANDS:
        talk.print(f"usage: python -m bench {{{'|'.join(COMMANDS)}}} ...   (each has --help)")
        sys.exit(0 if name in ("-h", "--help") else 2)
    run_command(COMMANDS[name], name=f"bench {name}", arguments=sys.argv[2:])


if __name__ == "__main__":
    main()
