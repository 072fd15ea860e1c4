"""VGG-16 as the encoder of a U-Net that is told where to look: MTL's motion branch.

The encoder's convolutions are named as torchvision's ``vgg16_bn``, so that its weights fit as they are.
"""

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from vadfast.layers import SCSE
from vadfast.models.unet_decoder import At, Decoder, conv_bn_relu

Position = Literal["none", "skip", "encoder", "decoder", "final"]

# Convolutions of each stage and their channels in units of width; a 2x2 maximum stands before every stage but the first.
_STAGES = ((2, 1), (2, 2), (3, 4), (3, 8), (3, 8))
_MIDDLE = (2, 3)  # the stages that SCSE follows: 4 width at H/4 and 8 width at H/8


class VGG16UNet(nn.Module):
    """One frame [B, 3, H, W] and its context [B, 3, H, W] -> [B, 1, H, W]; H and W divisible by 32.

        encoder   width at H, 2 width at H/2, 4 at H/4, 8 at H/8, 8 at H/16, 8 at H/32; 64 is the published width
        centre    two convolutions
        decoder   4, 2, 1, 1/2, 1/4 width; features of H/16, H/8, H/4, H/2 are joined (the layout leaves out those at H)
        head      3x3 convolution, linear

    ``attention`` is where features are multiplied by 1 + a, a the attention map of the context: what the encoder joins (skip) or has
    (encoder), what each step of the decoder returns (decoder), what the head gets (final), or nowhere.

    23,756,689 parameters without SCSE (42,546) and the context's network (19,553).
    """

    def __init__(
        self, *, width: int = 64, scse: bool = True, attention: Position = "decoder"
    ) -> None:
        super().__init__()
        self.features, self._starts = _vgg16(width)
        self.scse = nn.ModuleDict(
            {str(s): SCSE(_STAGES[s][1] * width) for s in _MIDDLE} if scse else {}
        )
        self.centre = conv_bn_relu(8 * width, 8 * width, 8 * width)
        skips = (8 * width, 8 * width, 4 * width, 2 * width)
        self.decoder = Decoder(8 * width, skips, width=width)
        self.head = nn.Conv2d(width // 4, 1, 3, padding=1)
        self.position = attention
        self.context = ContextAttention() if attention != "none" else None

    def forward(self, frame: Tensor, context: Tensor) -> Tensor:
        """Returns the map, linear."""
        where: dict[str, At] = {}
        if self.context is not None:
            where[self.position] = _Weighed(self.context(context))
        encoder, skip = where.get("encoder", _plain), where.get("skip", _plain)
        x, skips = frame, []
        for stage, (first, last) in enumerate(
            zip(self._starts, [*self._starts[1:], None], strict=True)
        ):
            x = self.features[first:last](x)
            x = self.scse[str(stage)](x) if str(stage) in self.scse else x
            x = encoder(x)
            skips.append(skip(x))
        _, *joined = skips[: len(_STAGES)]
        x = self.decoder(self.centre(x), joined[::-1], after=where.get("decoder"))
        return self.head(where.get("final", _plain)(x))


class ContextAttention(nn.Module):
    """|cos a|, |sin a| of the flow and the depth [B, 3, H, W] -> where to look [B, 1, H, W] in (0, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(conv_bn_relu(3, 32, 64), nn.Conv2d(64, 1, 1), nn.Sigmoid())

    def forward(self, context: Tensor) -> Tensor:
        """Returns the map."""
        return self.layers(context)


class _Weighed:
    """x (1 + a), a averaged to the size of x."""

    def __init__(self, a: Tensor) -> None:
        self._a = a

    def __call__(self, x: Tensor) -> Tensor:
        cell = self._a.shape[-1] // x.shape[-1]
        return x * (1 + (F.avg_pool2d(self._a, cell) if cell > 1 else self._a))


def _plain(x: Tensor) -> Tensor:
    return x


def _vgg16(width: int) -> tuple[nn.Sequential, list[int]]:
    """The layers as torchvision numbers them, and where each stage starts; the last is a maximum alone."""
    layers: list[nn.Module] = []
    starts, c_in = [0], 3
    for n_convolutions, factor in _STAGES:
        for _ in range(n_convolutions):
            conv = nn.Conv2d(c_in, factor * width, 3, padding=1)
            layers += [conv, nn.BatchNorm2d(factor * width), nn.ReLU(inplace=True)]
            c_in = factor * width
        starts.append(len(layers))
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers), starts
