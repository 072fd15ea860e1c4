"""A trained run opened again: the one place that knows how a run directory becomes a scorer."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from vadfast.data.datasets import Kind
from vadfast.errors import UsageError, VadfastError
from vadfast.methods import BAG_METHODS, model_module
from vadfast.runtime.manifest import Chain, Component, InputSpec
from vadfast.train.config import RunConfig

MODEL_FILE = "model.safetensors"
CONFIG_FILE = "run.toml"


@dataclass(frozen=True)
class RunData:
    """What the run was trained on: the last ``holdout`` of every film was kept out of training."""

    root: Path
    kind: Kind
    holdout: float


@dataclass(frozen=True)
class TrainedModel:
    """A trained model and everything that gives its numbers meaning."""

    method: str
    network: nn.Module  # what was trained, in the scorer
    # Frames uint8 [B, T, H, W, 3] -> (components [B, K], heatmap [B, h, w]); eval mode, float32.
    scorer: nn.Module
    input: InputSpec
    components: tuple[Component, ...]
    paper_chain: Chain
    causal_chain: Chain
    checkpoint_sha256: str
    data: RunData | None  # None: somebody else trained it (vadfast.compile.module)


def input_spec(config: RunConfig, fps: float | None) -> InputSpec:
    """The model's input as bundles describe it."""
    size = config.options.image_size
    return InputSpec(
        n_frames=model_module(config.method).N_FRAMES,
        height=size,
        width=size,
        fps=fps,
        teachers=getattr(config.options, "teachers", None),
    )


def load_run(run: Path) -> TrainedModel:
    """Opens a run directory that vadfast.train wrote, of a method that scores frames.

    Raises:
        UsageError: it is no run directory, or one of a method that scores bags.
        VadfastError: its weights are damaged or do not fit its configuration.
    """
    stored = open_run(run)
    config, module = stored.config, model_module(stored.config.method)
    if config.method in BAG_METHODS:
        raise UsageError(
            f"{run}: must be a run of a method that scores frames here, it is one of {config.method}, which scores bags of "
            "features; python -m vadfast.evaluate and compile take it"
        )
    return TrainedModel(
        method=config.method,
        network=stored.network,
        scorer=module.Scorer(stored.network).eval(),
        input=input_spec(config, config.fps),
        **module.meaning(config.options)._asdict(),
        checkpoint_sha256=stored.checkpoint_sha256,
        data=RunData(Path(config.data), cast(Kind, config.dataset), config.holdout),
    )


@dataclass(frozen=True)
class StoredRun:
    """A run directory as it lies on disk: its configuration, and the network with its trained weights."""

    config: RunConfig
    network: nn.Module
    checkpoint_sha256: str


def open_run(run: Path) -> StoredRun:
    """Opens a run directory of any method.

    Raises:
        UsageError: it is no run directory.
        VadfastError: its weights are damaged or do not fit its configuration.
    """
    weights = run / MODEL_FILE
    missing = [name for name in (CONFIG_FILE, MODEL_FILE) if not (run / name).is_file()]
    if missing:
        raise UsageError(
            f"{run}: must be a run directory with {CONFIG_FILE} and {MODEL_FILE}, lacks {' and '.join(missing)}; train one with "
            "python -m vadfast.train --out RUN, or go on with one that was stopped by --resume"
        )
    config = RunConfig.load(run / CONFIG_FILE)
    network = model_module(config.method).Network(config.options)
    try:
        network.load_state_dict(load_file(weights))
    except (SafetensorError, RuntimeError, OSError) as error:
        # Torch's first line is a heading.
        said = " ".join(line.strip() for line in str(error).strip().splitlines()[:2])
        raise VadfastError(
            f"{weights}: does not hold the weights that {CONFIG_FILE} describes ({said}); restore the run or train again"
        ) from error
    return StoredRun(config, network, hashlib.sha256(weights.read_bytes()).hexdigest())
