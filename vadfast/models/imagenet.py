"""ImageNet: the colours its networks know, and its weights put into our encoders from a local file."""

from pathlib import Path

import torch
from torch import Tensor, nn

from vadfast.errors import UsageError
from vadfast.models.weights import read_weights

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def normalise(frames: Tensor) -> Tensor:
    """Frames [..., 3, H, W] in [0, 255] -> with ImageNet's mean and standard deviation of each channel."""
    mean, std = (frames.new_tensor(x).view(3, 1, 1) for x in (MEAN, STD))
    return (frames / 255 - mean) / std


def load_weights(encoder: nn.Module, path: str, *, key: str, source: str) -> None:
    """Puts the weights of a torchvision classifier into ``encoder``; those of its classifier are left out.

    A first convolution of 3 n channels gets the weights of three n times over, divided by n: equal frames then give what one gives.

    Args:
        encoder: with torchvision's names and shapes.
        path: a file of the state_dict, as torchvision's site has it or as safetensors.
        key: the option that named it.
        source: where such a file comes from, in words.

    Raises:
        UsageError: the file is absent, or of another network.
        VadfastError: it is damaged.
    """
    mend = f"get {source}, or leave {key} out: training then starts from random weights"
    if not Path(path).is_file():
        raise UsageError(
            f"{key}: {path} must be a file of ImageNet weights, there is no such file; {mend}"
        )
    found = read_weights(Path(path), mend=mend)
    wanted = encoder.state_dict()
    taken = {name: found[name] for name in wanted if name in found}
    first = next(name for name, value in wanted.items() if value.ndim == 4)
    if first in taken and taken[first].shape[1] == 3:
        n = wanted[first].shape[1] // 3
        taken[first] = torch.cat([taken[first]] * n, dim=1) / n
    try:
        encoder.load_state_dict(taken)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise UsageError(
            f"{key}: {path} must hold the weights of {source} at width 64, it does not ({reason}); "
            f"or leave {key} out"
        ) from error
