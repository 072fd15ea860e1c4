"""``python -m vadfast.evaluate RUN|BUNDLE ... --data DIR``: how well a model finds what is labelled.

It scores through the same session and score chains as ``vadfast.score``, so that the table is about
what a camera will get. Several runs, of several seeds say, also get a table of means and deviations.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from vadfast.cli import AllowUnsigned, Debug, JsonFile, TrustKeys, run_command
from vadfast.errors import UsageError

if TYPE_CHECKING:
    from vadfast.evaluate.assessment import Assessment


def command(
    subjects: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN|BUNDLE...",
            help="Training runs, or bundles that were compiled from them.",
        ),
    ],
    data: Annotated[
        Path, typer.Option("--data", metavar="DIR", help="The data set with labelled test videos.")
    ],
    dataset: Annotated[
        str,
        typer.Option(
            "--dataset",
            help="auto, ped1, ped2, avenue, shanghaitech, ucf-crime, folder or features; auto recognises it and says which.",
        ),
    ] = "auto",
    only: Annotated[
        str | None,
        typer.Option("--only", metavar="NAME", help="Score by one of the components, as psnr."),
    ] = None,
    json: JsonFile = None,
    plots: Annotated[
        Path | None,
        typer.Option(
            "--plots",
            metavar="DIR",
            help="Draw the scores, the ROC and the worst mistakes into this folder.",
        ),
    ] = None,
    trust: TrustKeys = None,
    allow_unsigned: AllowUnsigned = False,
    debug: Debug = False,
) -> None:
    """Scores the labelled test videos; prints every AUC variant, EER and AP side by side."""
    from rich.console import Console

    from vadfast.atomic import write_text
    from vadfast.cli import talk
    from vadfast.data.bags import FeatureKind, load_features
    from vadfast.data.datasets import Kind, load_dataset
    from vadfast.evaluate.assessment import assess
    from vadfast.evaluate.report import dump, print_report, to_json
    from vadfast.evaluate.spread import print_spreads, spreads_json
    from vadfast.evaluate.subject import open_subject, scored_by, scores_bags
    from vadfast.runtime.signature import Trust

    trusted = Trust(tuple(trust or ()), allow_unsigned)
    to_stdout = json is not None and str(json) == "-"
    # With --json - the standard output is the JSON alone, so the tables go where talk goes.
    console = talk if to_stdout else Console()
    reports = []
    for number, path in enumerate(subjects, 1):
        if scores_bags(path):
            from vadfast.evaluate.bag_subject import open_bag_subject
            from vadfast.evaluate.bags import assess_bags, bags_json, print_bags

            if plots is not None or only is not None:
                raise UsageError(
                    f"evaluate: {path} scores bags of features, which have no pictures and no components; "
                    "leave out --plots and --only"
                )
            _check_kind(path, dataset, get_args(FeatureKind))
            films = load_features(data, cast(FeatureKind, dataset))
            of_bags = assess_bags(open_bag_subject(path, trusted), films)
            print_bags(console, of_bags)
            reports.append(bags_json(of_bags))
            continue
        subject = open_subject(path, trusted)
        try:
            _check_kind(path, dataset, get_args(Kind))
            loaded = load_dataset(data, cast(Kind, dataset))
            assessment = assess(subject if only is None else scored_by(subject, only), loaded)
            print_report(console, assessment)
            reports.append(to_json(assessment))
            if plots is not None:
                # Runs may have the same name in different places.
                folder = plots if len(subjects) == 1 else plots / f"{number}-{path.name}"
                talk.print(f"drawing into {folder}", markup=False)
                _draw(assessment, folder)
        finally:
            subject.engine.close()
    if len(reports) > 1:
        print_spreads(console, reports)
    if json is not None:
        text = dump(spreads_json(reports) if len(reports) > 1 else reports[0])
        if to_stdout:
            print(text, end="")
        else:
            write_text(json, text)


def _check_kind(path: Path, kind: str, kinds: tuple[str, ...]) -> None:
    if kind not in kinds:
        raise UsageError(
            f"--dataset: must be {', '.join(kinds[:-1])} or {kinds[-1]} for {path}, got {kind!r}; "
            "leave it out to have the layout recognised"
        )


def _draw(assessment: "Assessment", folder: Path) -> None:
    from vadfast.evaluate.plots import plot_roc, plot_scores
    from vadfast.evaluate.strips import plot_strips

    subject, videos, result = assessment.subject, assessment.videos, assessment.result
    plot_scores(subject, videos, result, folder)
    plot_roc(subject, videos, result, folder)
    plot_strips(subject, assessment.dataset, videos, folder)


if __name__ == "__main__":
    run_command(command, name="evaluate")
