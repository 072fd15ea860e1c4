"""The state of a run in one safetensors file: tensors under their path, everything else as JSON in the header."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from vadfast.atomic import atomic_file
from vadfast.errors import TrainingError

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


def save_checkpoint(path: Path, state: dict[str, Any], step: int) -> None:
    """Writes ``state`` (nested dictionaries and lists of tensors and JSON values) after ``step`` steps."""
    tensors: dict[str, torch.Tensor] = {}
    skeleton = _strip(state, "", tensors)
    save_tensors(path, tensors, {"step": str(step), "state": json.dumps(skeleton)})


def load_checkpoint(path: Path) -> tuple[dict[str, Any], int]:
    """Returns (state, step).

    Raises:
        TrainingError: the file is absent or damaged.
    """
    try:
        with safe_open(path, framework="pt") as stored:
            metadata = stored.metadata()
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (no mapping)
        return _fill(json.loads(metadata["state"]), tensors), int(metadata["step"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise TrainingError(
            f"{path}: must be a checkpoint to resume from, cannot be read ({error}); train anew"
        ) from error


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
