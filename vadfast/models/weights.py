"""Files of trained weights that others made: safetensors, or torch's format as plain tensors. No code in them runs."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vadfast.errors import VadfastError, first_line


def read_weights(path: Path, *, mend: str = "download it again") -> dict[str, Tensor]:
    """The tensors of ``path`` by name, on the CPU: of a file called .safetensors, else of one that torch saved.

    A ``state_dict`` among other things is taken out, and the ``module.`` off names of a network that several GPUs trained.

    Args:
        path: the file.
        mend: what to do where it does not hold tensors, for the sentence that says so.

    Raises:
        VadfastError: the file is absent or damaged, or holds something else.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file  # a camera box that runs Mask R-CNN needs none

            return load_file(path)
        values: Any = torch.load(path, map_location="cpu", weights_only=True)
    # torch raises pickle, zip, runtime and attribute errors alike for what is no file of its own.
    except Exception as error:
        raise VadfastError(
            f"{path}: must be a file of weights (safetensors, or tensors saved by torch), cannot be read ({first_line(error):.160}); {mend}"
        ) from error
    if isinstance(values, dict) and isinstance(values.get("state_dict"), dict):
        values = values["state_dict"]
    if not isinstance(values, dict) or not all(isinstance(v, Tensor) for v in values.values()):
        raise VadfastError(
            f"{path}: must hold tensors by name, holds {type(values).__name__}; save a network's state_dict() alone, or {mend}"
        )
    return {str(name).removeprefix("module."): value for name, value in values.items()}
