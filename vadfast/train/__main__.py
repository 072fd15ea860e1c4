"""``python -m vadfast.train``: from normal video to a trained run directory."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from vadfast.cli import Debug, run_command, talk
from vadfast.errors import UsageError
from vadfast.methods import METHODS, training_module

if TYPE_CHECKING:  # --help does without PyTorch
    from vadfast.data.bags import FeatureSet
    from vadfast.data.datasets import Dataset
    from vadfast.train.config import RunConfig

_RESUME_TAKES = {"out", "resume", "device", "debug", "ctx"}


def command(
    ctx: typer.Context,
    out: Annotated[Path, typer.Option("--out", help="Run directory to write.")],
    data: Annotated[
        Path | None, typer.Option(help="Data set, folder of films or of frames, or one film.")
    ] = None,
    method: Annotated[str, typer.Option(help=", ".join(METHODS) + ".")] = "adl",
    dataset: Annotated[
        str,
        typer.Option(help="auto, ped1, ped2, avenue, shanghaitech, ucf-crime, folder or features."),
    ] = "auto",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where the run in --out stopped.")
    ] = False,
    steps: Annotated[int, typer.Option(help="Training steps.")] = 20_000,
    batch: Annotated[int | None, typer.Option(help="Clips per step; none: the method's.")] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(help="Its largest; none: the method's, which also says how it falls."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of weights and order of clips.")] = 0,
    holdout: Annotated[
        float, typer.Option(help="Share at the end of each film kept for calibration.")
    ] = 0.1,
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16.")] = "auto",
    device: Annotated[
        str, typer.Option(help="auto, cpu or cuda; with --resume another than before.")
    ] = "auto",
    start_from: Annotated[
        Path | None, typer.Option(help="Run of the same method whose weights to begin with.")
    ] = None,
    ablation: Annotated[
        str, typer.Option(help="A row of the paper's tables, by name; an unknown one lists them.")
    ] = "",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="NAME=VALUE of the method's options; docs/methods.md."),
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Side of the square input, px; none: the published one.")
    ] = None,
    width: Annotated[
        int | None, typer.Option(help="Channels of the first level; none: the published net.")
    ] = None,
    norm: Annotated[str | None, typer.Option(help="adl: none or batch.")] = None,
    attention: Annotated[
        str | None, typer.Option(help="adl: scope of the map: none, clip, video, dataset, mask.")
    ] = None,
    mask_folder: Annotated[
        Path | None, typer.Option(help="adl: NAME.npy masks for --attention mask.")
    ] = None,
    background: Annotated[
        float | None, typer.Option(help="adl: the map where nothing moves: B of the paper, 0.1.")
    ] = None,
    gradient_warmup: Annotated[
        int | None,
        typer.Option(help="adl: steps in which the gradient loss rises; docs/training.md."),
    ] = None,
    normalise_attention: Annotated[
        bool | None, typer.Option(help="adl: divide losses by the mean weight.")
    ] = None,
    content_weight: Annotated[
        float | None, typer.Option(help="adl: weight of the content loss.")
    ] = None,
    gradient_weight: Annotated[
        float | None, typer.Option(help="adl: weight of the gradient loss.")
    ] = None,
    gradient_edge: Annotated[
        str | None, typer.Option(help="adl: last column and row: drop, or tf as the original's.")
    ] = None,
    adversarial: Annotated[
        float | None,
        typer.Option(help="adl: weight of the adversarial loss; 0: no discriminator."),
    ] = None,
    flow: Annotated[
        str | None, typer.Option(help="adl: none, lucas-kanade or package.module:function.")
    ] = None,
    flow_weight: Annotated[float | None, typer.Option(help="adl: weight of the flow loss.")] = None,
    debug: Debug = False,
) -> None:
    """Trains a model on normal video; the run directory holds weights, configuration, log and the state to resume from."""
    from vadfast.train.loop import train

    if resume:
        _refuse_changes(ctx)
        config, loaded = _resumed(out, device if _is_given(ctx, "device") else None)
    else:
        options = {
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
        }
        run = {
            "method": method,
            "dataset": dataset,
            "holdout": holdout,
            "seed": seed,
            "steps": steps,
            "batch": batch,
            "learning_rate": learning_rate,
            "precision": precision,
            "device": device,
            "mask_folder": str(mask_folder.resolve()) if mask_folder else None,
            "start_from": str(start_from.resolve()) if start_from else None,
        }
        config, loaded = _configured(data, out, run, options, ablation, settings or [])
    if not train(config, loaded, out, resume=resume):
        raise typer.Exit(130)
    then = (
        f"evaluate {out} --data {config.data}" if loaded.test else f"compile {out} --out NAME.vad"
    )
    talk.print(escape(f"done: {out}; next: python -m vadfast.{then}"))


def _resumed(out: Path, device: str | None) -> "tuple[RunConfig, Dataset | FeatureSet]":
    """The run in ``out`` and its data; ``device`` is another one than it was begun on, if named."""
    from vadfast.models.registry import CONFIG_FILE
    from vadfast.train.config import RunConfig
    from vadfast.train.machine import choose_device
    from vadfast.train.training import load_data

    config = RunConfig.load(out / CONFIG_FILE)
    chosen = choose_device(device or config.device)
    loaded = load_data(config.method, Path(config.data), config.dataset)
    return config.model_copy(update={"device": chosen}), loaded


def _configured(
    data: Path | None,
    out: Path,
    run: dict[str, Any],
    flags: dict[str, Any],
    ablation: str,
    settings: list[str],
) -> "tuple[RunConfig, Dataset | FeatureSet]":
    """A new run and its data, with what was left open decided: ``run`` as for ``RunConfig``, ``flags`` are the method's options."""
    from vadfast.models.registry import CONFIG_FILE
    from vadfast.train.config import RunConfig
    from vadfast.train.machine import choose_device, choose_precision
    from vadfast.train.options import method_options, refuse_unread
    from vadfast.train.training import load_data

    if data is None:
        raise UsageError(
            "--data must name normal video to train on, or features for sta, got nothing; see docs/data.md for layouts"
        )
    if (out / CONFIG_FILE).exists():
        raise UsageError(
            f"--out {out}: holds a run already; add --resume to go on, or name a new directory"
        )
    method, precision = run["method"], run["precision"]
    defaults = training_module(method)
    options = method_options(method, ablation, flags, settings)
    loaded = load_data(method, data, run["dataset"])
    if not loaded.train:
        raise UsageError(
            f"--data {data}: must hold training films, found only test films; see docs/data.md"
        )
    device = choose_device(run["device"])
    if precision not in ("auto", "fp32", "bf16"):
        raise UsageError(f"--precision must be auto, fp32 or bf16, got {precision!r}")
    chosen, why = choose_precision(precision, device)
    decided = {
        "data": str(data.resolve()),
        "dataset": loaded.kind,
        "fps": loaded.fps,
        "batch": defaults.BATCH if run["batch"] is None else run["batch"],
        "learning_rate": defaults.LEARNING_RATE
        if run["learning_rate"] is None
        else run["learning_rate"],
        "precision": chosen,
        "device": device,
        "options": {**loaded.implied, **options},
    }
    config = RunConfig.parse({**run, **decided}, where="vadfast train")
    refuse_unread(config, ablation)
    talk.print(f"data: {len(loaded.train)} training films; precision: {chosen} ({why})")
    return config, loaded


def _refuse_changes(ctx: typer.Context) -> None:
    given = [name for name in ctx.params if name not in _RESUME_TAKES and _is_given(ctx, name)]
    if given:
        raise UsageError(
            f"--resume takes everything but --device from run.toml, got --{given[0].replace('_', '-')} as well; leave it out"
        )


def _is_given(ctx: typer.Context, name: str) -> bool:
    return getattr(ctx.get_parameter_source(name), "name", "") == "COMMANDLINE"


if __name__ == "__main__":
    run_command(command, name="train")
