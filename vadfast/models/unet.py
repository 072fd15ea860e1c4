"""The future-frame U-Net of Liu et al. (CVPR 2018), the generator that ADL and the prediction baselines share.

Every width scales with ``width``; at 64 the network is the published one with 7,704,195 parameters.
"""

from typing import Literal

import torch
from torch import Tensor, nn

Norm = Literal["none", "batch"]


class UNet(nn.Module):
    """Predicts the next frame from the stacked frames before it.

        e1..e4 = double convolutions with 2x2 max pooling between; d3..d1 = up-convolution, concatenation, double convolution

    Source: StevenLiuWen/ano_pred_cvpr2018 ``Codes/unet.py`` (9e0f161b): no normalisation, ReLU after the up-convolution.
    ``norm="batch"`` is the later PyTorch port's form: batch normalisation, convolutions without bias.

    Shapes: [B, in_channels, H, W] -> [B, 3, H, W] in [-1, 1] (tanh); H and W divisible by 8.
    """

    def __init__(self, in_channels: int, *, width: int = 64, norm: Norm = "none") -> None:
        super().__init__()
        c1, c2, c3, c4 = width, 2 * width, 4 * width, 8 * width
        self.e1 = _double_convolution(in_channels, c1, norm)
        self.e2 = _double_convolution(c1, c2, norm)
        self.e3 = _double_convolution(c2, c3, norm)
        self.e4 = _double_convolution(c3, c4, norm)
        self.up3, self.d3 = (
            nn.ConvTranspose2d(c4, c3, 2, stride=2),
            _double_convolution(2 * c3, c3, norm),
        )
        self.up2, self.d2 = (
            nn.ConvTranspose2d(c3, c2, 2, stride=2),
            _double_convolution(2 * c2, c2, norm),
        )
        self.up1, self.d1 = (
            nn.ConvTranspose2d(c2, c1, 2, stride=2),
            _double_convolution(2 * c1, c1, norm),
        )
        self.head = nn.Conv2d(c1, 3, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.apply(xavier_initialise)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the predicted frame [B, 3, H, W]."""
        s1 = self.e1(x)  # [B, w, H, W]
        s2 = self.e2(self.pool(s1))  # [B, 2w, H/2, W/2]
        s3 = self.e3(self.pool(s2))  # [B, 4w, H/4, W/4]
        x = self.e4(self.pool(s3))  # [B, 8w, H/8, W/8]
        x = self.d3(torch.cat([s3, self.up3(x).relu()], dim=1))
        x = self.d2(torch.cat([s2, self.up2(x).relu()], dim=1))
        x = self.d1(torch.cat([s1, self.up1(x).relu()], dim=1))
        return torch.tanh(self.head(x))


def _double_convolution(in_channels: int, out_channels: int, norm: Norm) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (in_channels, out_channels):
        layers.append(nn.Conv2d(channels, out_channels, 3, padding=1, bias=norm == "none"))
        if norm == "batch":
            layers.append(nn.BatchNorm2d(out_channels))
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


def xavier_initialise(module: nn.Module) -> None:
    """Xavier-uniform weights and zero biases, as the TensorFlow original; to be used with ``Module.apply``."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Conv3d | nn.ConvTranspose3d):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
