r"""STD: spatio-temporal dissociation for video anomaly detection (Chang et al., Pattern Recognition 2022).

Two streams part a clip into what it looks like and how it moves: one autoencoder reconstructs the first frame, the other turns four
frames into the difference from the first to the fifth, with an attention for cells in which features vary. Their sum is the
prediction of the fifth frame. Both codes of a position together lie near one of K centres if the position is normal; the error of
the prediction is weighed by the distance from them.

Where paper and released code differ, and what is done here:

    section 3.4 variance attention: see ``vadfast.layers.VarianceAttention``; the code's form in 16 x 16 cells, the paper's, of every
                position, by ``variance="paper"``.
    section 3.2 batch normalisation behind each block of the appearance stream in the text, before it in code. As the code.
    eq. 10      has lost the minus sign of the exponent and an index of the denominator; the distance is not squared. As the code.
    eq. 6       the gradient term compares signed differences with absolute ones in the text; absolute both. Its weight is 1 in the text
                and 0.01 in code. As the code.
    eq. 12      the cluster term is averaged over centres in code. As the code.
    section 4   k-means runs on codes before they have length 1 in code, so that the centres start far from them. Here after.
    eq. 13      1 / loss; a logarithm or nothing in its place, and the code's Gaussian of sigma 1, which is off there, are left out: no
                number is printed for them. Here its decibels: the same order, and a number that engines can be compared by; the paper's chain turns
                them back before its min-max.
"""

from typing import Literal, NamedTuple, Self

import torch
from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)
from torch import Tensor, nn
from torch.nn import functional as F

from vadfast.config import Config
from vadfast.layers import ClusterDistance, VarianceAttention
from vadfast.models.meaning import Meaning
from vadfast.models.prediction import cells, decibels, unit_clip
from vadfast.models.residual import convolution, down, up
from vadfast.runtime.manifest import (
    Chain,
    Component,
    ExponentialMean,
    MinMax,
    Reciprocal,
    RobustZ,
)

N_FRAMES = 5  # four in, one to predict
HEATMAP_CELL_PX = 8  # a position of the codes
_CELLS = 16  # variance attention's in the released code, along each side, at every level

COMPONENTS = (Component(name="dissociated_psnr", unit="dB", high_is="normal"),)
_WEIGHTS = {"dissociated_psnr": 1.0}
PAPER_CHAIN = Chain(steps=(Reciprocal(), MinMax()), weights=_WEIGHTS)
CAUSAL_CHAIN = Chain(steps=(RobustZ(), ExponentialMean(half_life_frames=2.0)), weights=_WEIGHTS)


class STDConfig(Config):
    """What makes one STD model different from another."""

    image_size: PositiveInt = Field(default=256, multiple_of=8 * _CELLS)
    neck: PositiveInt = Field(default=32, multiple_of=2)
    streams: Literal["both", "appearance", "motion"] = "both"
    variance: Literal["code", "paper", "none"] = "code"
    n_clusters: NonNegativeInt = 32  # 0: the error is not weighed
    sharpness: PositiveFloat = 25.0  # alpha of eq. 10
    gradient_weight: NonNegativeFloat = 0.01
    cluster_weight: NonNegativeFloat = 0.1
    # Of the steps, before k-means: appearance and motion alone. The paper's 50 of 150 epochs.
    autoencoder_share: float = Field(default=1 / 3, gt=0, lt=1)

    @model_validator(mode="after")
    def _centres_are_of_both(self) -> Self:
        if self.n_clusters and self.streams != "both":
            raise ValueError(
                f"n_clusters must be 0 with streams={self.streams!r}: centres are of both streams' codes together"
            )
        return self


Options = STDConfig


def meaning(_: STDConfig) -> Meaning:
    """The same whatever the options."""
    return Meaning(COMPONENTS, PAPER_CHAIN, CAUSAL_CHAIN)


# Rows of the paper's tables, as options.
ABLATIONS: dict[str, dict[str, object]] = {
    **{
        stream: {"streams": stream, "variance": "none", "n_clusters": 0}
        for stream in ("appearance", "motion")
    },
    "both": {"variance": "none", "n_clusters": 0},
    "both+va": {"n_clusters": 0},
    "both+k-means": {"variance": "none"},
    "variance-paper": {"variance": "paper"},
    **{f"clusters-{n}": {"n_clusters": n} for n in (4, 8, 16, 32, 64)},
}


# ------------------------------------------------------------------------------------------------ networks


class Dissociation(NamedTuple):
    """What the network returns; a stream that it lacks says nothing, and without centres nothing is weighed."""

    first: Tensor | None  # [B, 3, H, W]: frame 1 as the appearance stream sees it
    difference: Tensor | None  # [B, 3, H, W]: frame 5 less frame 1
    distance: Tensor | None  # [B, H/8, W/8]: of both codes from the centres

    def compared(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        """Returns what was predicted and what was seen, of ``clip`` [B, 5, 3, H, W]: frame 1 without the motion stream, else frame 5."""
        if self.difference is None:
            assert self.first is not None  # a network has one stream at least
            return self.first, clip[:, 0]
        start = clip[:, 0] if self.first is None else self.first
        return start + self.difference, clip[:, -1]


class Network(nn.Module):
    """Frames 1..4 stacked on channels [B, 12, H, W] in [0, 1] -> both halves of frame 5, and the distance from the centres.

    H = W = ``image_size``: cells of the variance attention are a 16th of it at every level.

    ``found`` is 1 once k-means has given the centres their values. Until then they are random: the distance is 1 everywhere, so that
    what a run that was stopped early leaves is scored by its error alone.
    """

    found: Tensor  # a number; only where there are centres

    def __init__(self, config: STDConfig) -> None:
        super().__init__()
        self.appearance = Appearance(config) if config.streams != "motion" else None
        self.motion = Motion(config) if config.streams != "appearance" else None
        self.clusters = (
            ClusterDistance(
                16 * config.neck, n_clusters=config.n_clusters, sharpness=config.sharpness
            )
            if config.n_clusters
            else None
        )
        if config.n_clusters:
            self.register_buffer("found", torch.zeros(()))
            self.register_load_state_dict_pre_hook(_centres_were_found)  # type: ignore[no-untyped-call]

    def forward(self, frames: Tensor) -> Dissociation:
        """Returns what the streams make of the frames."""
        first = difference = z_a = z_m = None
        if self.appearance is not None:
            first, z_a = self.appearance(frames[:, :3])
        if self.motion is not None:
            difference, z_m = self.motion(frames)
        if self.clusters is None or z_a is None or z_m is None:
            return Dissociation(first, difference, None)
        distance = self.clusters(_joined(z_a, z_m))
        # Without a branch, for the exporter; both ends are exact.
        return Dissociation(first, difference, self.found * distance + (1 - self.found))

    def codes(self, frames: Tensor) -> Tensor:
        """Returns what is clustered [B, 16 neck, H/8, W/8], of length 1 at each position."""
        appearance, motion = self.both()
        return _joined(appearance.encode(frames[:, :3]), motion.encode(frames)[0])

    def both(self) -> tuple["Appearance", "Motion"]:
        """The streams of a network that has both, as every one with centres has."""
        assert self.appearance is not None
        assert self.motion is not None
        return self.appearance, self.motion


def _centres_were_found(_: nn.Module, state: dict[str, Tensor], prefix: str, *__: object) -> None:
    """A state from before there was a note of it is taken for that of a whole run."""
    state.setdefault(f"{prefix}found", torch.ones(()))


def _joined(z_a: Tensor, z_m: Tensor) -> Tensor:
    return F.normalize(torch.cat([z_a, z_m], dim=1), dim=1)


class Appearance(nn.Module):
    """A frame [B, 3, H, W] -> the frame again, and its code z_a [B, 8 neck, H/8, W/8] (absolute sum 1 at each position)."""

    def __init__(self, config: STDConfig) -> None:
        super().__init__()
        c = config.neck
        self.stem = nn.Sequential(convolution(3, c), nn.ReLU())
        self.encoder = nn.Sequential(
            *(nn.Sequential(nn.BatchNorm2d(w), down(w, 2 * w)) for w in (c, 2 * c, 4 * c))
        )
        self.code = nn.Sequential(convolution(8 * c, 8 * c), nn.ReLU())
        self.decoder = nn.Sequential(up(8 * c, 8 * c), up(8 * c, 4 * c), up(4 * c, 2 * c))
        self.head = convolution(2 * c, 3)

    def forward(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        """Returns (frame, z_a)."""
        z = self.encode(frame)
        return self.head(self.decoder(z)), z

    def encode(self, frame: Tensor) -> Tensor:
        """Returns z_a."""
        return F.normalize(self.code(self.encoder(self.stem(frame))), p=1, dim=1)


class Motion(nn.Module):
    """Four frames [B, 12, H, W] -> the difference to come [B, 3, H, W], and its code z_m [B, 8 neck, H/8, W/8]."""

    def __init__(self, config: STDConfig) -> None:
        super().__init__()
        c = config.neck
        self.stem = nn.Sequential(convolution(3 * (N_FRAMES - 1), c), nn.ReLU())
        self.encoder = nn.ModuleList(
            nn.Sequential(
                down(c * 2**level, c * 2 ** (level + 1)),
                _attention(config, level),
            )
            for level in range(3)
        )
        self.code = convolution(8 * c, 8 * c)
        # Behind the first two, the encoder's features of that size are joined on.
        self.up3, self.up2, self.up1 = up(8 * c, 4 * c), up(8 * c, 2 * c), up(4 * c, 2 * c)
        self.head = convolution(2 * c, 3)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Returns (difference, z_m)."""
        z, f1, f2 = self.encode(frames)
        x = torch.cat([self.up3(z), f2], dim=1)  # [B, 8 neck, H/4, W/4]
        x = torch.cat([self.up2(x), f1], dim=1)  # [B, 4 neck, H/2, W/2]
        return self.head(self.up1(x)), z

    def encode(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns z_m, and the encoder's features at a half and a quarter of the size."""
        x, features = self.stem(frames), []
        for level in self.encoder:
            x = level(x)
            features.append(x)
        f1, f2, f3 = features
        return F.normalize(self.code(f3), p=1, dim=1), f1, f2


def _attention(config: STDConfig, level: int) -> nn.Module:
    """Of the motion stream's features behind its downward block ``level``."""
    if config.variance == "none":
        return nn.Identity()
    factor = 2 ** (level + 1)
    # The paper does not pool.
    cell = config.image_size // factor // _CELLS if config.variance == "code" else 1
    return VarianceAttention(config.neck * factor, cell=cell, variant=config.variance)


# ------------------------------------------------------------------------------------------------ score


class Scorer(nn.Module):
    """The one graph that is evaluated, exported and shipped: uint8 window in, score and error map out.

        loss[b] = mean over cells of D e,   e = mean over (c, cell) of (first + difference - frame 5)^2
        dissociated_psnr[b] = 10 log10(1 / max(loss[b], 1e-10))

    One stream alone is judged by what it makes: appearance by frame 1, motion by frame 1 + difference against frame 5; D is 1 then.
    D is constant over the 8x8 pixels of a cell, so this is the mean over pixels of eq. 13; its 1 / loss is 10^(dB / 10).

    Shapes: frames uint8 [B, 5, H, W, 3] -> components float32 [B, 1] in dB, heatmap float32 [B, H/8, W/8] (D e).
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Returns (components, heatmap) of a batch of windows."""
        clip = unit_clip(frames)  # [B, 5, 3, H, W]
        seen = self.network(clip[:, :-1].flatten(1, 2))
        predicted, target = seen.compared(clip)
        heatmap = cells((predicted - target).square(), HEATMAP_CELL_PX)
        if seen.distance is not None:
            heatmap = heatmap * seen.distance
        return decibels(heatmap.mean(dim=(1, 2))).unsqueeze(1), heatmap
