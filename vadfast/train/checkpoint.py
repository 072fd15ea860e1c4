"""The state of a run in one safetensors file: tensors under their path, everything else as JSON in the header."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from vadfast.atomic import atomic_file
from vadfast.errors import TrainingError
from vadfast.train.config import RunConfig

CHECKPOINT_FILE = "checkpoint.safetensors"


def save_tensors(
    path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None
) -> None:
    """Writes tensors, whole or not at all.

    Raises:
        TrainingError: they cannot be written, mostly because the disk is full; an older file is still there.
    """
    plain = {k: t.detach().cpu().contiguous() for k, t in tensors.items()}
    with atomic_file(path) as temporary:
        try:
            save_file(plain, temporary, metadata=metadata)
        # The library's own kind, also for what is an OSError elsewhere.
        except SafetensorError as error:
            raise TrainingError(
                f"{path}: cannot be written ({error}); free some disk space and go on with --resume"
            ) from error


def save_checkpoint(path: Path, config: RunConfig, state: dict[str, Any], step: int) -> None:
    """Writes ``state`` (nested dictionaries and lists of tensors and JSON values) after ``step`` steps of a run of ``config``."""
    tensors: dict[str, torch.Tensor] = {}
    skeleton = _strip(state, "", tensors)
    metadata = {
        "step": str(step),
        "state": json.dumps(skeleton),
        "made_by": json.dumps(_of(config)),
    }
    save_tensors(path, tensors, metadata)


def load_checkpoint(path: Path, config: RunConfig) -> tuple[dict[str, Any], int]:
    """Returns (state, step) for a run of ``config``.

    Raises:
        TrainingError: the file is absent or damaged, or of a run of another method or with other options.
    """
    try:
        with safe_open(path, framework="pt") as stored:
            metadata = stored.metadata()
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (no mapping)
        state, step = _fill(json.loads(metadata["state"]), tensors), int(metadata["step"])
        made_by = dict(json.loads(metadata["made_by"]))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise TrainingError(
            f"{path}: must be a checkpoint to resume from, cannot be read ({error}); train anew"
        ) from error
    _check_made_by(made_by, config, path)
    return state, step


def _of(config: RunConfig) -> dict[str, Any]:
    """What decides which tensors a state has and what they mean; steps, rate and device may change."""
    return {"method": config.method, **config.options.model_dump(mode="json")}


def _check_made_by(made_by: dict[str, Any], config: RunConfig, path: Path) -> None:
    wanted = _of(config)
    # In the order of the record: a method's name explains all options that differ.
    for name in [*wanted, *made_by]:
        if made_by.get(name) != wanted.get(name):
            raise TrainingError(
                f"{path}: must be of the run that its run.toml describes, was made with {name} = {made_by.get(name)!r}, and "
                f"run.toml has {wanted.get(name)!r}; restore run.toml, or train anew with another --out"
            )


def _strip(value: Any, path: str, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        tensors[path] = value
        return {"tensor": path}
    if isinstance(value, dict):
        # Pairs, not an object: the optimiser's keys are integers and JSON's are not.
        return {
            "dict": [[key, _strip(inner, f"{path}/{key}", tensors)] for key, inner in value.items()]
        }
    if isinstance(value, list | tuple):
        return {"list": [_strip(inner, f"{path}/{i}", tensors) for i, inner in enumerate(value)]}
    return {"value": value}


def _fill(node: dict[str, Any], tensors: dict[str, torch.Tensor]) -> Any:
    if "tensor" in node:
        return tensors[node["tensor"]]
    if "dict" in node:
        return {key: _fill(inner, tensors) for key, inner in node["dict"]}
    if "list" in node:
        return [_fill(inner, tensors) for inner in node["list"]]
    return node["value"]
