"""ResNet-34 as the encoder of a U-Net: frames stacked on channels in, a map of their size out.

Modules and parameters of the encoder are named as torchvision's ``resnet34``, so that its weights fit as they are.
"""

from torch import Tensor, nn

from vadfast.models.unet_decoder import Decoder

_BLOCKS = (3, 4, 6, 3)


class ResNet34UNet(nn.Module):
    """[B, c_in, H, W] -> [B, c_out, H, W]; H and W divisible by 32.

        encoder   width at H/2 and H/4, then 2, 4, 8 width at H/8, H/16, H/32; 64 is the published width
        decoder   4, 2, 1, 1/2, 1/4 width; the four shallower features are joined
        head      3x3 convolution

    24,445,777 parameters from 6 channels to 1.
    """

    def __init__(self, c_in: int, c_out: int, *, width: int = 64) -> None:
        super().__init__()
        self.encoder = Encoder(c_in, width)
        skips = (4 * width, 2 * width, width, width)
        self.decoder = Decoder(8 * width, skips, width=width)
        self.head = nn.Conv2d(width // 4, c_out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the map, linear."""
        deepest, *skips = reversed(self.encoder(x))
        return self.head(self.decoder(deepest, skips))


class Encoder(nn.Module):
    """The five features of ResNet-34, from shallow to deep."""

    def __init__(self, c_in: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _layer(width, width, _BLOCKS[0], stride=1)
        self.layer2 = _layer(width, 2 * width, _BLOCKS[1], stride=2)
        self.layer3 = _layer(2 * width, 4 * width, _BLOCKS[2], stride=2)
        self.layer4 = _layer(4 * width, 8 * width, _BLOCKS[3], stride=2)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Returns [B, width, H/2, W/2], ..., [B, 8 width, H/32, W/32]."""
        features = [self.relu(self.bn1(self.conv1(x)))]
        x = self.maxpool(features[0])
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            features.append(x)
        return features


class _Block(nn.Module):
    """x + two convolutions of it; x is brought to their size and channels by one of 1x1."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or c_in != c_out:
            self.downsample = nn.Sequential(
                nn.Conv2d(c_in, c_out, 1, stride=stride, bias=False), nn.BatchNorm2d(c_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + self.downsample(x))


def _layer(c_in: int, c_out: int, n_blocks: int, *, stride: int) -> nn.Sequential:
    first = _Block(c_in, c_out, stride)
    return nn.Sequential(first, *(_Block(c_out, c_out, 1) for _ in range(n_blocks - 1)))
