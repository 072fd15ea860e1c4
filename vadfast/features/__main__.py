"""``python -m vadfast.features FILM... --extractor c3d --weights FILE --out DIR``: a film becomes NAME.npy [n_snippets, C]."""

from pathlib import Path
from typing import Annotated

import typer

from vadfast.cli import Debug, run_command


def command(
    films: Annotated[
        list[Path], typer.Argument(metavar="FILM...", help="Videos, or folders of images.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for NAME.npy of each film.")],
    extractor: Annotated[
        str, typer.Option("--extractor", help="c3d (4096), i3d (1024) or i3d-resnet50 (2048).")
    ] = "i3d",
    weights: Annotated[
        Path | None, typer.Option("--weights", help="Its published weights, .pt or .safetensors.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Snippets at a time.")] = 4,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    debug: Debug = False,
) -> None:
    """Describes films by features for STA; a film whose file is there already is left alone, so a stopped run goes on."""
    import numpy as np

    from vadfast.atomic import atomic_file
    from vadfast.cli import talk
    from vadfast.errors import UsageError
    from vadfast.features.extract import extract
    from vadfast.features.extractors import extractor as extractor_named
    from vadfast.features.extractors import load_network
    from vadfast.progress import steps
    from vadfast.runtime.source import open_source
    from vadfast.train.machine import choose_device

    chosen = extractor_named(extractor)
    names = [film.name if film.is_dir() else film.stem for film in films]
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise UsageError(
            f"FILM: names must differ, {double} is there {names.count(double)} times; their features would be one file"
        )
    sources = [open_source(film) for film in films]
    network = load_network(extractor, weights)
    device = choose_device(device)
    for number, (source, name) in enumerate(zip(sources, names, strict=True), 1):
        target = out / f"{name}.npy"
        if target.exists():
            talk.print(f"{target}: is there already, left alone", markup=False)
            continue
        with steps(f"{name} ({number} of {len(films)})", source.n_frames, unit="frames") as bar:
            features = extract(source, chosen, network, batch=batch, device=device, bar=bar)
        with atomic_file(target) as temporary:
            np.save(temporary, features)
        talk.print(f"wrote {target}: {features.shape[0]} x {features.shape[1]}", markup=False)


if __name__ == "__main__":
    run_command(command, name="features")
