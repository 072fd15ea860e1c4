r"""Concurrent squeeze and excitation: features weighed by channel and by position.

    y = x sigmoid(W2 relu(W1 mean over positions of x)) + x sigmoid(w . x)

Source: Roy et al., "Concurrent Spatial and Channel Squeeze & Excitation in Fully Convolutional Networks", MICCAI 2018. They allow a
maximum of both as well; the sum is what most code has.

Shapes: x, y [B, C, H, W]; W1 has C / ``reduction`` rows, one at least. All with bias.
"""

from torch import Tensor, nn


class SCSE(nn.Module):
    """[B, C, H, W] -> [B, C, H, W]."""

    def __init__(self, channels: int, *, reduction: int = 16) -> None:
        super().__init__()
        between = max(1, channels // reduction)
        self.channel = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, between, 1),
            nn.ReLU(),
            nn.Conv2d(between, channels, 1),
            nn.Sigmoid(),
        )
        self.position = nn.Sequential(nn.Conv2d(channels, 1, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """The formula of the module's docstring."""
        return x * self.channel(x) + x * self.position(x)
