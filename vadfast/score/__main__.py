"""``python -m vadfast.score BUNDLE VIDEO|DIR...``: scores and events of finished films.

Offline and lossless: each frame is scored, in order, however long it takes.
"""

from pathlib import Path
from typing import Annotated

import typer

from vadfast.cli import (
    AllowUnsigned,
    Debug,
    TrustKeys,
    check_bundle,
    check_writable,
    check_writable_folder,
    run_command,
)


def command(
    bundle: Annotated[Path, typer.Argument(help="The bundle NAME.vad that vadfast.compile wrote.")],
    videos: Annotated[
        list[Path], typer.Argument(help="Films, folders of films, or folders of pictures.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for scores.jsonl and for what --plot and --overlay make."),
    ] = None,
    jsonl: Annotated[
        Path | None,
        typer.Option(
            help="Write the JSON lines to this file ('-': standard output, the default "
            "without --out)."
        ),
    ] = None,
    plot: Annotated[
        bool, typer.Option("--plot", help="Draw each film's score over time: OUT/NAME-scores.png.")
    ] = False,
    overlay: Annotated[
        bool,
        typer.Option(
            "--overlay", help="Film with heat map, score and events: OUT/NAME-overlay.mp4."
        ),
    ] = False,
    backend: Annotated[
        str, typer.Option(help="Engine to use; auto: the first of the bundle that runs here.")
    ] = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads of the engine; default: its own choice.")
    ] = None,
    trust: TrustKeys = None,
    allow_unsigned: AllowUnsigned = False,
    debug: Debug = False,
) -> None:
    """Scores films with a bundle and reports events; exit code 1 when a film cannot be read."""
    from vadfast.runtime.signature import Trust
    from vadfast.score.films import Wanted, score_films
    from vadfast.score.start import import_meanwhile, without_converter

    wanted = Wanted(out=out, jsonl=jsonl, plot=plot, overlay=overlay)
    check_bundle(bundle)
    if out is not None:
        check_writable_folder("--out", out)
    check_writable("--jsonl", jsonl)
    import_meanwhile("av", "cv2")
    with without_converter():
        n_failed = score_films(
            bundle,
            videos,
            wanted,
            backend=backend,
            threads=threads,
            trust=Trust(tuple(trust or ()), allow_unsigned),
        )
    if n_failed:
        raise typer.Exit(1)


if __name__ == "__main__":
    run_command(command, name="score")
