"""The decoder that both of MTL's networks have: five steps up, in the layout of segmentation_models_pytorch (MIT)."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

At = Callable[[Tensor], Tensor]


def conv_bn_relu(*channels: int) -> nn.Sequential:
    """3x3 convolutions without bias, batch normalisation and ReLU after each."""
    layers: list[nn.Module] = []
    for c_in, c_out in pairwise(channels):
        conv = nn.Conv2d(c_in, c_out, 3, padding=1, bias=False)
        layers += [conv, nn.BatchNorm2d(c_out), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class UpStep(nn.Module):
    """Nearest neighbour x 2, concatenation with the encoder's features, two convolutions."""

    def __init__(self, c_in: int, c_skip: int, c_out: int) -> None:
        super().__init__()
        self.convolutions = conv_bn_relu(c_in + c_skip, c_out, c_out)

    def forward(self, x: Tensor, skip: Tensor | None) -> Tensor:
        """[B, c_in, h, w] and [B, c_skip, 2 h, 2 w] or nothing -> [B, c_out, 2 h, 2 w]."""
        x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        return self.convolutions(x if skip is None else torch.cat([x, skip], dim=1))


class Decoder(nn.Module):
    """From the deepest features [B, deepest, h, w] to [B, width / 4, 32 h, 32 w]: 4, 2, 1, 1/2, 1/4 of ``width`` channels.

    ``skips`` are the channels of the encoder's features that are joined, from deep to shallow; the last steps have none.
    """

    def __init__(self, deepest: int, skips: Sequence[int], *, width: int) -> None:
        super().__init__()
        channels = [deepest, 4 * width, 2 * width, width, width // 2, width // 4]
        joined = [*skips, *([0] * (5 - len(skips)))]
        self.steps = nn.ModuleList(
            UpStep(a, s, b) for (a, b), s in zip(pairwise(channels), joined, strict=True)
        )

    def forward(self, x: Tensor, skips: Sequence[Tensor], *, after: At | None = None) -> Tensor:
        """``after`` is applied to what comes out of each step."""
        waiting = list(skips)
        for step in self.steps:
            x = step(x, waiting.pop(0) if waiting else None)
            x = x if after is None else after(x)
        return x
