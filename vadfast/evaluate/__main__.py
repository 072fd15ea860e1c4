"""``python -m vadfast.evaluate RUN|BUNDLE --data DIR``: how well a model finds what is labelled.

It scores through the same session and score chains as ``vadfast.score``, so that the table is about
what a camera will get.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from vadfast.cli import Debug, JsonFile, run_command


def command(
    subject: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|BUNDLE", help="A training run, or a bundle that was compiled from one."
        ),
    ],
    data: Annotated[
        Path, typer.Option("--data", metavar="DIR", help="The data set with labelled test videos.")
    ],
    dataset: Annotated[
        Literal["auto", "ped1", "ped2", "avenue", "folder"],
        typer.Option("--dataset", help="Its layout; auto recognises it and says which."),
    ] = "auto",
    json: JsonFile = None,
    plots: Annotated[
        Path | None,
        typer.Option(
            "--plots",
            metavar="DIR",
            help="Draw the scores, the ROC and the worst mistakes into this folder.",
        ),
    ] = None,
    debug: Debug = False,
) -> None:
    """Scores the labelled test videos; prints every AUC variant, EER and AP side by side."""
    from rich.console import Console

    from vadfast.atomic import write_text
    from vadfast.cli import talk
    from vadfast.data.datasets import load_dataset
    from vadfast.evaluate.protocols import evaluate
    from vadfast.evaluate.report import dump, print_report, to_json
    from vadfast.evaluate.scoring import score_videos
    from vadfast.evaluate.subject import open_subject

    opened = open_subject(subject)
    try:
        loaded = load_dataset(data, dataset)
        videos = score_videos(opened, loaded)
        result = evaluate(videos)
        to_stdout = json is not None and str(json) == "-"
        # With --json - the standard output is the JSON alone, so the tables go where talk goes.
        print_report(talk if to_stdout else Console(), opened, loaded, videos, result)
        if json is not None:
            text = dump(to_json(opened, loaded, videos, result))
            if to_stdout:
                print(text, end="")
            else:
                write_text(json, text)
        if plots is not None:
            from vadfast.evaluate.plots import plot_roc, plot_scores
            from vadfast.evaluate.strips import plot_strips

            talk.print(f"drawing into {plots}", markup=False)
            plot_scores(opened, videos, result, plots)
            plot_roc(opened, videos, result, plots)
            plot_strips(opened, loaded, videos, plots)
    finally:
        opened.engine.close()


if __name__ == "__main__":
    run_command(command, name="evaluate")
