"""``python -m vadfast.demo``: train, evaluate, compile and score, with the very commands a user would type.

Each step is a process of its own and its command is printed, so that the demo is also the manual.
"""

import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from vadfast.cli import Debug, run_command, talk
from vadfast.errors import UsageError, VadfastError

# Small enough for two cores and a few minutes: a demonstration, not the published size.
MODEL = (
    "--image-size",
    "64",
    "--width",
    "16",
    "--batch",
    "4",
    "--adversarial",
    "0",
    "--learning-rate",
    "1.5e-3",
    "--holdout",  # enough normal video to calibrate a threshold on
    "0.25",
)
TRAINED_PART = 0.7  # of one's own film


def command(
    out: Annotated[
        Path, typer.Option("--out", help="Folder for everything the demo makes.")
    ] = Path("demo"),
    data: Annotated[Path | None, typer.Option(help="A data set instead of the made scene.")] = None,
    video: Annotated[
        Path | None, typer.Option(help="Your own film: trains on its first part, scores the rest.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Training steps.")] = 1600,
    n_frames: Annotated[int, typer.Option(help="Length of each made film.")] = 300,
    debug: Debug = False,
) -> None:
    """Runs the whole way once and says what is where."""
    if data is not None and video is not None:
        raise UsageError("--data and --video: give one of them, got both")
    run, bundle, scores, plots = out / "run", out / "model.vad", out / "scores", out / "plots"
    if (run / "run.toml").exists():
        raise UsageError(
            f"--out {out}: holds a demo already; name another folder or delete it (make clean)"
        )
    started = time.monotonic()
    made: list[tuple[str, str]] = []
    if video is not None:
        data, film = _split(video, out)
        made.append((str(data), "the first part of your film, which was trained on"))
    elif data is None:
        data, film = _film_scene(out / "scene", n_frames)
        made.append((str(data), "the made scene: training and test films, labels, masks"))
    else:
        film = _first_test_film(data)
    _step("vadfast.train", "--data", data, "--out", run, "--steps", steps, *MODEL)
    made.append((str(run), "the trained run: weights, configuration, log"))
    if video is None:
        _step("vadfast.evaluate", run, "--data", data, "--plots", plots)
        made.append((str(plots), "scores over time, ROC, worst false alarms and misses"))
    _step("vadfast.compile", run, "--out", bundle)
    made.append((str(bundle), "the bundle: model, calibration, self-test"))
    _step("vadfast.score", bundle, film, "--out", scores, "--plot", "--overlay")
    made.append((str(scores / "scores.jsonl"), "a line per frame and per event"))
    made += [(str(p), "score plot") for p in sorted(scores.glob("*.png"))]
    made += [(str(p), "the film with its heat map") for p in sorted(scores.glob("*.mp4"))]
    table = Table(
        title=f"done in {time.monotonic() - started:.0f} s; what is where", title_justify="left"
    )
    table.add_column("where", overflow="fold")
    table.add_column("what")
    for row in made:
        table.add_row(*row)
    talk.print(table)


def _film_scene(root: Path, n_frames: int) -> tuple[Path, Path]:
    """Films the scene, and one more film that no step before scoring sees; returns (data set, that film)."""
    from vadfast.data import synthetic

    talk.print(f"filming a made scene into {root}")
    synthetic.write_dataset(root, seed=1, n_frames=n_frames)
    unseen = root.parent / "unseen.mp4"
    synthetic.write_film(unseen, synthetic.film(99_000, n_frames, anomaly="cyclist"))
    return root, unseen


def _split(video: Path, out: Path) -> tuple[Path, Path]:
    """Cuts a film in two, re-encoded so that both parts have exact frame counts; returns (first, rest)."""
    from vadfast.data.synthetic import write_frames
    from vadfast.runtime.source import length_of, open_source

    source = open_source(video)
    total = length_of(source)
    cut = int(total * TRAINED_PART)
    first, rest = out / "first-part" / f"{video.stem}.mp4", out / f"{video.stem}-rest.mp4"
    fps = source.fps or 25.0
    write_frames(first, (f.image for f in source if f.index < cut), fps)
    write_frames(rest, (f.image for f in source if f.index >= cut), fps)
    return first.parent, rest


def _first_test_film(data: Path) -> Path:
    from vadfast.data.datasets import load_dataset

    test = load_dataset(data).test
    if not test:
        raise UsageError(
            f"--data {data}: must hold a testing part to score; use --video for one film"
        )
    return test[0].source.path


def _step(module: str, *arguments: object) -> None:
    words = [str(a) for a in arguments]
    talk.print(f"\n[bold]$ python -m {module} {' '.join(words)}[/]")
    done = subprocess.run([sys.executable, "-m", module, *words], check=False)
    if done.returncode:
        raise VadfastError(
            f"python -m {module} ended with exit code {done.returncode}; its message is above"
        )


if __name__ == "__main__":
    run_command(command, name="demo")
