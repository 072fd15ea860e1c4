"""The methods by name, and a trained run opened again: the one place that knows how a run directory becomes a scorer."""

import hashlib
import importlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from vadfast.data.datasets import Kind
from vadfast.errors import UsageError, VadfastError
from vadfast.runtime.manifest import Chain, Component, InputSpec
from vadfast.train.config import RunConfig

METHODS = ("adl",)
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
    # Frames uint8 [B, T, H, W, 3] -> (components [B, K], heatmap [B, h, w]); eval mode, float32.
    scorer: nn.Module
    input: InputSpec
    components: tuple[Component, ...]
    paper_chain: Chain
    causal_chain: Chain
    checkpoint_sha256: str
    data: RunData


def method_module(name: str) -> ModuleType:
    """The module of method ``name``.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in METHODS:
        raise UsageError(f"--method must be one of {', '.join(METHODS)}, got {name!r}")
    return importlib.import_module(f"vadfast.models.{name}")


def input_spec(config: RunConfig, fps: float | None) -> InputSpec:
    """The model's input as bundles describe it."""
    size = config.adl.image_size
    return InputSpec(
        n_frames=method_module(config.method).N_FRAMES, height=size, width=size, fps=fps
    )


def load_run(run: Path) -> TrainedModel:
    """Opens a run directory that vadfast.train wrote.

    Raises:
        UsageError: it is no run directory.
        VadfastError: its weights are damaged or do not fit its configuration.
    """
    weights = run / MODEL_FILE
    if not (run / CONFIG_FILE).is_file() or not weights.is_file():
        raise UsageError(
            f"{run}: must be a run directory with {CONFIG_FILE} and {MODEL_FILE}, it is not; "
            "train one with python -m vadfast.train --out RUN"
        )
    config = RunConfig.load(run / CONFIG_FILE)
    module = method_module(config.method)
    generator = module.Generator(config.adl)
    try:
        generator.load_state_dict(load_file(weights))
    except (SafetensorError, RuntimeError, OSError) as error:
        first = str(error).strip().splitlines()[0]
        raise VadfastError(
            f"{weights}: does not hold the weights that {CONFIG_FILE} describes ({first}); restore the run or train again"
        ) from error
    return TrainedModel(
        method=config.method,
        scorer=module.Scorer(generator).eval(),
        input=input_spec(config, config.fps),
        components=module.COMPONENTS,
        paper_chain=module.PAPER_CHAIN,
        causal_chain=module.CAUSAL_CHAIN,
        checkpoint_sha256=hashlib.sha256(weights.read_bytes()).hexdigest(),
        data=RunData(Path(config.data), config.dataset, config.holdout),
    )
