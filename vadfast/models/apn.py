r"""APN: attention prototype network for video anomaly detection (Hu et al., "Normal learning in videos with APN").

A U-Net predicts frame t from the four frames before it. Criss-cross attention at each level of the encoder lets every position see
the whole frame; before the head, a unit sums what the frame's positions have in common into a few prototypes and answers every
position from them. What is abnormal is predicted badly, and is far from every prototype: two scores.

Where paper and released code differ, and what is done here:

    network     ResNet-50 and several scales in the text, a plain U-Net of three levels in code (3,364,022 parameters). As the code.
    section 3   the residual around the criss-cross attention is the layer's own in the text; code adds another outside of it, so
                that features are doubled as long as gamma is 0. As the code.
    score       the weight of the feature score is 0 in the text (lambda_s = 1) and 1/2 in the test script. Both scores come out.
    eq. 7       a sum over channels in the text, a mean in code. As the code: with the sum every feature becomes the same one, and the
                frame is not learned.
    eq. 7, 8    have lost an index, a square and a hinge; see ``vadfast_kernels.prototype_attention.op``.
    eq. 3, 9    garbled; taken as the covariance over channels of each pair of prototypes.
    section 4   weights of diversity and covariance are 0.01 in the text, 0.0001 in code, which adds 0.0001 (1 - SSIM) and a kernel of
                detached prototypes that is constant and has no gradient. As the text; SSIM by ``ssim_weight``; the constant is left out.
"""

from itertools import pairwise
from typing import Literal, NamedTuple, Self

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from vadfast.config import Config
from vadfast.layers import CrissCross, Prototypes, PrototypeUnit
from vadfast.layers.unit_vectors import unit_vectors
from vadfast.models.meaning import Meaning
from vadfast.models.prediction import cells, decibels, signed_clip
from vadfast.runtime.manifest import (
    Chain,
    Component,
    ExponentialMean,
    Gaussian,
    MinMax,
    RobustZ,
)

N_FRAMES = 5  # four in, one to predict
HEATMAP_CELL_PX = 8

COMPONENTS = (
    Component(name="psnr", unit="dB", high_is="normal"),
    Component(name="feature_psnr", unit="dB", high_is="normal"),
)


class APNConfig(Config):
    """What makes one APN model different from another.

    ``levels=4, criss_cross=False`` is the network that APN grew from, MPN's (Lv et al., CVPR 2021; 13,285,251 parameters).
    """

    image_size: PositiveInt = Field(default=256, multiple_of=8)
    width: PositiveInt = 64
    levels: Literal[3, 4] = 3
    criss_cross: bool = True
    n_prototypes: NonNegativeInt = 10  # 0: no prototype unit, a plain predictor with one score
    # "prototypes" leaves the rest of the network as it is: a new scene needs a few steps of its first frames (few-shot, after MPN).
    trained: Literal["all", "prototypes"] = "all"
    compactness_weight: NonNegativeFloat = 1.0
    diversity_weight: NonNegativeFloat = 0.01
    covariance_weight: NonNegativeFloat = 0.01
    ssim_weight: NonNegativeFloat = 0.0

    @model_validator(mode="after")
    def _has_what_it_trains(self) -> Self:
        if self.trained == "prototypes" and not self.n_prototypes:
            raise ValueError("n_prototypes must be at least 1 with trained='prototypes'")
        return self


Options = APNConfig


def meaning(config: APNConfig) -> Meaning:
    """What a model with these options returns: without prototypes the score of the frame alone."""
    components = COMPONENTS if config.n_prototypes else COMPONENTS[:1]
    weights = {component.name: 1 / len(components) for component in components}
    smoothed = Gaussian(n_taps=15, sigma=2.0, side="both")
    return Meaning(
        components,
        Chain(steps=(MinMax(), smoothed), weights=weights),
        Chain(steps=(RobustZ(), ExponentialMean(half_life_frames=2.0)), weights=weights),
    )


# Rows of the paper's tables, as options.
ABLATIONS: dict[str, dict[str, object]] = {
    "ae": {"n_prototypes": 0},
    "no-criss-cross": {"criss_cross": False},
    "mpn": {"levels": 4, "criss_cross": False},
    **{f"prototypes-{n}": {"n_prototypes": n} for n in (1, 5, 10, 20, 40)},
}


# ------------------------------------------------------------------------------------------------ network


class Prediction(NamedTuple):
    """What the network returns."""

    frame: Tensor  # [B, 3, H, W] in [-1, 1]
    # Found in the features [B, 2 width, H, W] of the same frames; None without a unit.
    prototypes: Prototypes | None

    def float(self) -> "Prediction":
        """The same in float32, as losses take it."""
        found = self.prototypes
        prototypes = None if found is None else Prototypes(*(x.float() for x in found))
        return Prediction(self.frame.float(), prototypes)


class Network(nn.Module):
    """Frames t-4..t-1 stacked on channels [B, 12, H, W] in [-1, 1] -> frame t and the prototypes.

        encoder   a level: two convolutions, x + CC(x); 2x2 max pooling between levels; channels double
        middle    two convolutions
        decoder   a level: up-convolution, concatenation with the encoder's, two convolutions (none at full size)
        z         the decoder's features, of length 1 at every position
        frame     tanh of three convolutions of the prototype unit's answer; of z itself without a unit

    Convolutions are 3x3 with bias, each followed by ReLU except the last; no normalisation. H and W divisible by 2^(levels - 1).
    """

    def __init__(self, config: APNConfig) -> None:
        super().__init__()
        channels = [config.width * 2**level for level in range(config.levels)]
        inputs = [3 * (N_FRAMES - 1), *channels]
        self.encoder = nn.ModuleList(_convolutions(a, b, b) for a, b in pairwise(inputs))
        self.attention = nn.ModuleList(
            _Attended(c) if config.criss_cross else nn.Identity() for c in channels
        )
        self.pool = nn.MaxPool2d(2)
        self.middle = _convolutions(channels[-1], channels[-1], channels[-1])
        self.up, self.decoder = nn.ModuleList(), nn.ModuleList()
        for c in reversed(channels[:-1]):
            self.up.append(nn.ConvTranspose2d(2 * c, c, 3, stride=2, padding=1, output_padding=1))
            self.decoder.append(_convolutions(2 * c, c, c))
        self.decoder[-1] = nn.Identity()
        self.unit = (
            PrototypeUnit(2 * config.width, n_prototypes=config.n_prototypes)
            if config.n_prototypes
            else None
        )
        self.head = nn.Sequential(
            _convolutions(2 * config.width, config.width, config.width),
            nn.Conv2d(config.width, 3, 3, padding=1),
        )

    def forward(self, frames: Tensor) -> Prediction:
        """Returns the predicted frame [B, 3, H, W], and the prototypes."""
        x, skips = frames, []
        for level, (convolve, attend) in enumerate(zip(self.encoder, self.attention, strict=True)):
            x = attend(convolve(self.pool(x) if level else x))
            skips.append(x)  # [B, width 2^level, H / 2^level, W / 2^level]
        x = self.middle(skips.pop())
        for up, convolve in zip(self.up, self.decoder, strict=True):
            x = convolve(torch.cat([skips.pop(), up(x).relu()], dim=1))
        z = unit_vectors(x)  # [B, 2 width, H, W]
        prototypes = None if self.unit is None else self.unit(z)
        answer = z if prototypes is None else prototypes.y
        return Prediction(torch.tanh(self.head(answer)), prototypes)


class _Attended(nn.Module):
    """x + CC(x): the released code's residual around the attention that has one."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.criss_cross = CrissCross(channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.criss_cross(x)


def _convolutions(*channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for c_in, c_out in pairwise(channels):
        layers += [nn.Conv2d(c_in, c_out, 3, padding=1), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


# ------------------------------------------------------------------------------------------------ losses


def losses(prediction: Prediction, target: Tensor, config: APNConfig) -> dict[str, Tensor]:
    r"""The terms of the training loss by name, not yet weighted; those of prototypes only where there are some.

    frame        mean over (b, c, y, x) of (prediction - target)^2                  eq. 5
    compactness  mean over (b, n, c) of (z[n] - p*)^2, p* the best prototype        eq. 7
    diversity    mean over pairs of max(0, 1 - |p - p'|^2)                          eq. 8
    covariance   mean over pairs of |cov(p, p')|, over channels                     eq. 3, 9
    ssim         1 - SSIM(prediction, target); only where it has a weight
    """
    prototypes = prediction.prototypes
    found = {"frame": F.mse_loss(prediction.frame, target)}
    if prototypes is not None:
        found |= {
            "compactness": prototypes.compactness.mean() / prototypes.p.shape[2],
            "diversity": prototypes.diversity.mean(),
            "covariance": covariance(prototypes.p),
        }
    if config.ssim_weight:
        found["ssim"] = 1 - ssim(prediction.frame, target)
    return found


def covariance(p: Tensor) -> Tensor:
    """Mean over images and pairs of prototypes [B, M, C] of the absolute covariance over channels; 0 for one prototype."""
    n = p.shape[1]
    if n < 2:
        return p.new_zeros(())
    centred = p - p.mean(dim=2, keepdim=True)
    pairs = (centred @ centred.mT / p.shape[2]).abs()  # [B, M, M]
    return pairs.triu(diagonal=1).sum(dim=(1, 2)).mean() * (2 / (n * (n - 1)))


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Mean structural similarity of images [B, C, H, W] in [-1, 1] (Wang et al., 2004): windows of 11 px, sigma 1.5, no padding."""
    taps = torch.exp(-((torch.arange(11, device=a.device) - 5.0) ** 2) / (2 * 1.5**2))
    taps = (taps / taps.sum()).to(a.dtype)
    channels = a.shape[1]

    def blur(x: Tensor) -> Tensor:
        for shape in ((1, 1, 11, 1), (1, 1, 1, 11)):
            x = F.conv2d(x, taps.view(shape).expand(channels, *shape[1:]), groups=channels)
        return x

    c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    shared = blur(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return (luminance * (2 * shared + c2) / (var_a + var_b + c2)).mean()


# ------------------------------------------------------------------------------------------------ score


class Scorer(nn.Module):
    """The one graph that is evaluated, exported and shipped: uint8 window in, both scores and the error map out.

        psnr[b]          of the predicted frame, as ADL's
        feature_psnr[b]  10 log10(1 / mean over (n, c) of (z - p*)^2),  p* the prototype nearest to z[n]

    Features have length 1, so the second mean is a C-th of what it would be without the average over channels: compare values of
    one C only. Without a prototype unit there is no such score.

    Shapes: frames uint8 [B, 5, H, W, 3] -> components float32 [B, 2 or 1] in dB, heatmap float32 [B, H/8, W/8] (mean squared error in
    [0, 1] of each 8x8 cell of the predicted frame).
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Returns (components, heatmap) of a batch of windows."""
        clip = signed_clip(frames)  # [B, 5, 3, H, W]
        predicted, prototypes = self.network(clip[:, :-1].flatten(1, 2))
        error = ((predicted - clip[:, -1]) / 2).square()  # [B, 3, H, W]
        off = [error.mean(dim=(1, 2, 3))]  # [B] each
        if prototypes is not None:
            off.append(prototypes.compactness.mean(dim=(1, 2)) / prototypes.p.shape[2])
        return decibels(torch.stack(off, dim=1)), cells(error, HEATMAP_CELL_PX)
