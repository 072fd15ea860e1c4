"""STD's blocks: residual ones that halve or double the size, of 3x3 convolutions without bias or normalisation."""

from torch import Tensor, nn
from torch.nn import functional as F


class Residual(nn.Module):
    """LeakyReLU(main(x) + shortcut(x)), without normalisation."""

    def __init__(self, main: nn.Module, shortcut: nn.Module, channels: int) -> None:
        super().__init__()
        self.main = nn.Sequential(main, nn.LeakyReLU(), convolution(channels, channels))
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, channels, h, w]."""
        return F.leaky_relu(self.main(x) + self.shortcut(x))


def down(c_in: int, c_out: int) -> Residual:
    """Halves the size."""
    main, shortcut = (convolution(c_in, c_out, stride=2) for _ in range(2))
    return Residual(main, shortcut, c_out)


def up(c_in: int, c_out: int) -> Residual:
    """Doubles the size."""
    main, shortcut = (
        nn.Sequential(nn.PixelShuffle(2), convolution(c_in // 4, c_out)) for _ in range(2)
    )
    return Residual(main, shortcut, c_out)


def convolution(c_in: int, c_out: int, *, stride: int = 1) -> nn.Conv2d:
    """3x3, without bias."""
    return nn.Conv2d(c_in, c_out, 3, stride, padding=1, bias=False)
