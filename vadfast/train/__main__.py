"""``python -m vadfast.train``: from normal video to a trained run directory."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from vadfast.cli import Debug, run_command, talk
from vadfast.errors import UsageError

_RESUME_TAKES = {"out", "resume", "debug", "ctx"}


def command(
    ctx: typer.Context,
    out: Annotated[Path, typer.Option("--out", help="Run directory to write.")],
    data: Annotated[
        Path | None, typer.Option(help="Data set, folder of films or of frames, or one film.")
    ] = None,
    method: Annotated[str, typer.Option(help="adl.")] = "adl",
    dataset: Annotated[str, typer.Option(help="auto, ped1, ped2, avenue or folder.")] = "auto",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where the run in --out stopped.")
    ] = False,
    steps: Annotated[int, typer.Option(help="Training steps.")] = 20_000,
    batch: Annotated[int, typer.Option(help="Clips per step.")] = 4,
    learning_rate: Annotated[float, typer.Option(help="Adam's, falling linearly to 0.")] = 2e-4,
    seed: Annotated[int, typer.Option(help="Of weights and order of clips.")] = 0,
    holdout: Annotated[
        float, typer.Option(help="Share at the end of each film kept for calibration.")
    ] = 0.1,
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    image_size: Annotated[
        int, typer.Option(help="Side of the square input, px, a multiple of 8.")
    ] = 256,
    width: Annotated[
        int, typer.Option(help="Channels of the first level; 64 is the published net.")
    ] = 64,
    norm: Annotated[str, typer.Option(help="none or batch.")] = "none",
    attention: Annotated[
        str, typer.Option(help="Scope of the map: none, clip, video, dataset, mask.")
    ] = "clip",
    mask_folder: Annotated[
        Path | None, typer.Option(help="NAME.npy masks for --attention mask.")
    ] = None,
    background: Annotated[
        float, typer.Option(help="The map's value where nothing moves: B of the paper.")
    ] = 0.1,
    gradient_warmup: Annotated[
        int, typer.Option(help="Steps in which the gradient loss rises from 0; docs/training.md.")
    ] = 200,
    normalise_attention: Annotated[
        bool, typer.Option(help="Divide losses by the mean weight.")
    ] = False,
    content_weight: Annotated[float, typer.Option(help="Weight of the content loss.")] = 1.0,
    gradient_weight: Annotated[float, typer.Option(help="Weight of the gradient loss.")] = 1.0,
    gradient_edge: Annotated[
        str, typer.Option(help="Last column and row: drop, or tf as the original's padding.")
    ] = "drop",
    adversarial: Annotated[
        float, typer.Option(help="Weight of the adversarial loss; 0: no discriminator.")
    ] = 0.05,
    flow: Annotated[
        str, typer.Option(help="none, lucas-kanade or package.module:function.")
    ] = "none",
    flow_weight: Annotated[float, typer.Option(help="Weight of the flow loss.")] = 2.0,
    debug: Debug = False,
) -> None:
    """Trains a model on normal video; the run directory holds weights, configuration, log and the state to resume from."""
    from vadfast.data.datasets import load_dataset
    from vadfast.models.registry import CONFIG_FILE, method_module
    from vadfast.train.config import RunConfig
    from vadfast.train.loop import train
    from vadfast.train.machine import choose_precision

    if resume:
        _refuse_changes(ctx)
        config = RunConfig.load(out / CONFIG_FILE)
        loaded = load_dataset(Path(config.data), config.dataset)
    else:
        if data is None:
            raise UsageError(
                "--data must name normal video to train on, got nothing; see docs/data.md for layouts"
            )
        if (out / CONFIG_FILE).exists():
            raise UsageError(
                f"--out {out}: holds a run already; add --resume to go on, or name a new directory"
            )
        method_module(method)
        if dataset not in ("auto", "ped1", "ped2", "avenue", "folder"):
            raise UsageError(
                f"--dataset must be auto, ped1, ped2, avenue or folder, got {dataset!r}"
            )
        loaded = load_dataset(data, dataset)  # type: ignore[arg-type]
        if not loaded.train:
            raise UsageError(
                f"--data {data}: must hold training films, found only test films; see docs/data.md"
            )
        device = _choose_device(device)
        if precision not in ("auto", "fp32", "bf16"):
            raise UsageError(f"--precision must be auto, fp32 or bf16, got {precision!r}")
        chosen, why = choose_precision(precision, device)  # type: ignore[arg-type]
        talk.print(f"data: {len(loaded.train)} training films; precision: {chosen} ({why})")
        config = RunConfig.parse(
            {
                "method": method,
                "data": str(data.resolve()),
                "dataset": loaded.kind,
                "fps": loaded.train[0].source.fps,
                "holdout": holdout,
                "seed": seed,
                "steps": steps,
                "batch": batch,
                "learning_rate": learning_rate,
                "precision": chosen,
                "device": device,
                "mask_folder": str(mask_folder.resolve()) if mask_folder else None,
                "adl": {
                    "image_size": image_size,
                    "width": width,
                    "norm": norm,
                    "attention": attention,
                    "background": background,
                    "gradient_warmup": gradient_warmup,
                    "normalise_attention": normalise_attention,
                    "content_weight": content_weight,
                    "gradient_weight": gradient_weight,
                    "gradient_edge": gradient_edge,
                    "adversarial_weight": adversarial,
                    "flow": flow,
                    "flow_weight": flow_weight,
                },
            },
            where="vadfast train",
        )
    if not train(config, loaded, out, resume=resume):
        raise typer.Exit(130)
    talk.print(escape(f"done: {out}; next: python -m vadfast.evaluate {out} --data {config.data}"))


def _refuse_changes(ctx: typer.Context) -> None:
    given = [
        name
        for name in ctx.params
        if name not in _RESUME_TAKES
        and getattr(ctx.get_parameter_source(name), "name", "") == "COMMANDLINE"
    ]
    if given:
        raise UsageError(
            f"--resume takes everything from run.toml, got --{given[0].replace('_', '-')} as well; leave it out"
        )


def _choose_device(asked: str) -> str:
    import torch

    if asked not in ("auto", "cpu", "cuda"):
        raise UsageError(f"--device must be auto, cpu or cuda, got {asked!r}")
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if asked == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "--device cuda: torch finds no GPU here; use --device cpu or install a CUDA build of torch"
        )
    return asked


if __name__ == "__main__":
    run_command(command, name="train")
