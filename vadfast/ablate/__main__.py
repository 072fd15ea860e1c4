"""``python -m vadfast.ablate --method adl --rows l_cl,l_acl --seeds 3 --data DIR --out DIR -- --steps 2000``: a paper's table.

Stopped by whatever, the same line goes on where it was: finished runs are kept, an unfinished one resumes from its checkpoint.
"""

from pathlib import Path
from typing import Annotated

import typer

from vadfast.cli import Debug, JsonFile, run_command
from vadfast.errors import UsageError
from vadfast.methods import METHODS, model_module


def command(
    data: Annotated[
        Path, typer.Option("--data", metavar="DIR", help="The data set: trained on and evaluated.")
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder of the runs, reports and table.")
    ],
    train_arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="-- TRAIN ARGUMENTS", help="For every run, as vadfast.train takes them."
        ),
    ] = None,
    method: Annotated[str, typer.Option(help=", ".join(METHODS) + ".")] = "adl",
    rows: Annotated[
        str,
        typer.Option(
            help="Rows of the paper's tables, with commas; ROW@COMPONENT scores by one alone; an unknown one lists them."
        ),
    ] = "full",
    grid: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=V,V", help="Every row at each value of this option; may be repeated."
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each line: seeds 0, 1, ...")] = 3,
    dataset: Annotated[str, typer.Option(help="The data set's layout, as of train.")] = "auto",
    compiled: Annotated[
        bool,
        typer.Option(
            "--compiled", help="Compile each run, and evaluate the bundle: what cameras get."
        ),
    ] = False,
    json: JsonFile = None,
    debug: Debug = False,
) -> None:
    """Trains and evaluates rows of a paper's tables over seeds, or a grid of sizes; prints and writes the table."""
    from rich.console import Console

    from vadfast.ablate.frontier import plot_frontier
    from vadfast.ablate.plan import Plan, check_train_arguments, make_lines
    from vadfast.ablate.runs import call_process, finish, keep_plan
    from vadfast.ablate.table import entries, markdown, rich_table, to_json
    from vadfast.atomic import write_text
    from vadfast.cli import talk
    from vadfast.evaluate.report import dump

    if not data.exists():
        raise UsageError(f"--data {data}: no such file or folder; check the path")
    plan = Plan(
        method=method,
        data=data.resolve(),
        dataset=dataset,
        out=out,
        lines=make_lines(rows, list(model_module(method).ABLATIONS), grid or []),
        seeds=seeds,
        compiled=compiled,
        train_arguments=check_train_arguments(train_arguments or []),
    )
    keep_plan(plan)
    if not finish(plan, call_process):
        talk.print("stopped by Ctrl-C; the same command goes on there")
        raise typer.Exit(130)
    found = entries(plan)
    to_stdout = json is not None and str(json) == "-"
    console = talk if to_stdout else Console()
    if console.is_terminal:
        console.print(rich_table(plan, found))
    else:  # a file has no width to fit into
        console.print(markdown(plan, found), markup=False, highlight=False, soft_wrap=True)
    write_text(out / "table.md", markdown(plan, found))
    written = "table.md"
    if grid and all(entry.ms is not None for entry in found):
        plot_frontier(plan, found, out / "frontier.png")
        written += " and frontier.png"
    talk.print(f"wrote {written} into {out}", markup=False)
    if json is not None:
        text = dump(to_json(plan, found))
        if to_stdout:
            print(text, end="")
        else:
            write_text(json, text)


if __name__ == "__main__":
    run_command(command, name="ablate")
