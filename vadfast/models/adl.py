r"""ADL: attention-driven loss for video anomaly detection (Zhou et al., IEEE TCSVT 2020).

A U-Net predicts frame t from the four frames before it; where the prediction is bad, something abnormal happens. ADL changes
only the training: content and gradient losses are weighted by an attention map A, large where the clip moves, so that the
network does not spend itself on the background. At test time A is not used and the score is the plain PSNR.

Where paper and code of the baseline differ, and what is done here:

    eq. 15      PSNR's peak is max(prediction)^2 in the paper; all code uses 1 on frames in [0, 1]. So do we.
    eq. 8-10    sums over pixels in the paper; means in code (the published weights make sense only so). Means.
    eq. 8 / 9   the content loss squares A (background weight 0.01), the gradient loss does not (0.1). As printed.
    eq. 11      the factor 1/2 is lost in the paper and present in code. Kept.
    eq. 12      a frozen FlowNet2-SD, whose weights cannot be shipped; nor can torchvision's RAFT's, which is left out: ``flow`` takes a
                function of yours around either, or the Lucas-Kanade of ``flow.py``.
"""

from typing import Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt, model_validator
from torch import Tensor, nn
from vadfast_kernels.attention_loss import reference as weighed
from vadfast_kernels.attention_map import reference as rank_pooled
from vadfast_kernels.attention_map.rank_pooling import LEAST_CONTRAST

from vadfast.config import Config
from vadfast.models.conv_ae import ConvAE
from vadfast.models.convlstm_ae import ConvLSTMAE
from vadfast.models.meaning import PSNR, Meaning, usual_meaning
from vadfast.models.prediction import frame_score, signed_clip
from vadfast.models.unet import Norm, UNet, xavier_initialise

N_FRAMES = 5  # four in, one to predict
HEATMAP_CELL_PX = 8

COMPONENTS, PAPER_CHAIN, CAUSAL_CHAIN = usual_meaning(PSNR)

Scope = Literal["none", "clip", "video", "dataset", "mask"]
Architecture = Literal["unet", "conv-ae", "convlstm-ae"]


class ADLConfig(Config):
    """What makes one ADL model and its training different from another."""

    image_size: PositiveInt = Field(default=256, multiple_of=8)
    width: PositiveInt = 64
    architecture: Architecture = "unet"
    norm: Norm = "none"
    attention: Scope = "clip"
    background: NonNegativeFloat = 0.1  # B of the paper's table: weight where nothing moves
    normalise_attention: bool = (
        False  # divide the losses by mean(A^2), mean(A): same magnitude with and without A
    )
    gradient_edge: Literal["drop", "tf"] = "drop"
    content_weight: NonNegativeFloat = 1.0
    gradient_weight: NonNegativeFloat = 1.0
    gradient_attention: bool = True  # False: the plain gradient loss, l_gd of table II
    gradient_warmup: NonNegativeInt = (
        200  # steps in which its weight rises from 0; see gradient_loss
    )
    adversarial_weight: NonNegativeFloat = 0.05
    flow_weight: NonNegativeFloat = 2.0
    flow: str = "none"  # "none", "lucas-kanade", or "package.module:function"

    @model_validator(mode="after")
    def _is_buildable(self) -> Self:
        if self.norm != "none" and self.architecture != "unet":
            raise ValueError(f"norm must be 'none' with architecture {self.architecture!r}")
        return self


Options = ADLConfig


def meaning(_: ADLConfig) -> Meaning:
    """The same whatever the options."""
    return Meaning(COMPONENTS, PAPER_CHAIN, CAUSAL_CHAIN)


_BARE: dict[str, object] = {"adversarial_weight": 0.0, "flow_weight": 0.0}
# Rows of the paper's tables, as options: II (losses), III (maps), IV (other networks), V (background).
ABLATIONS: dict[str, dict[str, object]] = {
    "l_cl": _BARE | {"attention": "none", "gradient_weight": 0.0},
    "l_acl": _BARE | {"gradient_weight": 0.0},
    "l_acl+l_gd": _BARE | {"gradient_attention": False},
    "l_acl+l_agd": _BARE,
    "baseline": {"attention": "none"},
    "human-map": {"attention": "mask"},
    "conv-ae": _BARE | {"architecture": "conv-ae", "attention": "none", "gradient_weight": 0.0},
    "conv-ae+adl": _BARE | {"architecture": "conv-ae"},
    "convlstm-ae": _BARE
    | {"architecture": "convlstm-ae", "attention": "none", "gradient_weight": 0.0},
    "convlstm-ae+adl": _BARE | {"architecture": "convlstm-ae"},
    **{f"background-{b:g}": {"background": b} for b in (0.0, 0.1, 0.2, 0.3, 0.4)},
}


# ------------------------------------------------------------------------------------------------ networks


class Generator(UNet):
    """Frames t-4..t-1 stacked on channels [B, 12, H, W] in [-1, 1] -> frame t [B, 3, H, W]."""

    n_inputs = N_FRAMES - 1

    def __init__(self, config: ADLConfig) -> None:
        super().__init__(3 * self.n_inputs, width=config.width, norm=config.norm)


def Network(config: ADLConfig) -> nn.Module:
    """What is shipped: the paper's generator, or one of the autoencoders that it is compared with."""
    match config.architecture:
        case "unet":
            return Generator(config)
        case "conv-ae":
            return ConvAE(width=config.width)
        case "convlstm-ae":
            return ConvLSTMAE(width=config.width)


class Discriminator(nn.Module):
    """The patch discriminator of pix2pix, on single frames: [B, 3, 256, 256] -> [B, 1, 35, 35] in (0, 1).

    4x4 convolutions, each after a reflecting pad of 2, LeakyReLU 0.2, no normalisation (ano_pred). Widths are twice the
    generator's: 128, 256, 512, 512 at ``width=64`` (6,831,489 parameters).
    """

    def __init__(self, config: ADLConfig) -> None:
        super().__init__()
        w = config.width
        layers: list[nn.Module] = []
        for c_in, c_out, stride in (
            (3, 2 * w, 2),
            (2 * w, 4 * w, 2),
            (4 * w, 8 * w, 2),
            (8 * w, 8 * w, 1),
        ):
            layers += [nn.ReflectionPad2d(2), nn.Conv2d(c_in, c_out, 4, stride), nn.LeakyReLU(0.2)]
        layers += [nn.ReflectionPad2d(2), nn.Conv2d(8 * w, 1, 4), nn.Sigmoid()]
        self.layers = nn.Sequential(*layers)
        self.apply(xavier_initialise)

    def forward(self, frame: Tensor) -> Tensor:
        """Returns for each patch how real it looks."""
        return self.layers(frame)


# ------------------------------------------------------------------------------------------------ attention


def attention_map(frames: Tensor, *, background: float = 0.1) -> Tensor:
    """The attention map of each clip (paper eq. 1-7), without gradient.

        M = sum_t alpha(t) I_t,   A = |M| / max(max M - min M, eps) + background

    max and min are over (C, H, W) of a sample, and the quotient is cut at 1: where a light is switched on, M has one sign and a
    small range, and the quotient would be 25 and more. Without eps a clip in which nothing moves would turn its sensor noise into
    weights near 1; eps is the range that a moving edge of 2 % of full contrast would give.

    Args:
        frames: [B, T, C, H, W] in [-1, 1] (T is any length: a clip's 5 frames, or a whole video).
        background: weight where nothing moves; the paper's best is 0.1.

    Returns:
        [B, C, H, W] in [background, 1 + background], float32, or float64 of such frames.
    """
    return rank_pooled.attention_map(frames, background=background)


def normalise_attention(m: Tensor, weight_sum: Tensor, *, background: float) -> Tensor:
    """Turns pooled frames M [B, C, H, W] into A (eq. 7); ``weight_sum`` is sum |alpha|, which scales the static-clip guard.

    For films that fit into no clip; ``attention_map`` has it within.
    """
    spread = m.amax(dim=(1, 2, 3), keepdim=True) - m.amin(dim=(1, 2, 3), keepdim=True)
    eps = LEAST_CONTRAST * weight_sum / 2
    return (m.abs() / spread.clamp_min(eps)).clamp_max(1) + background


# ------------------------------------------------------------------------------------------------ losses

# Training runs ``ops.attention_map`` and ``ops.attention_loss``; what they must equal is their reference, which is asked here too.


def content_loss(predicted: Tensor, target: Tensor, attention: Tensor) -> Tensor:
    """ACL (eq. 8): mean over (B, C, H, W) of (A (prediction - target))^2, so a pixel's weight is A squared."""
    return weighed.attention_loss(predicted, target, attention, gradient_weight=0.0)[0]


def gradient_loss(
    predicted: Tensor, target: Tensor, attention: Tensor, *, edge: Literal["drop", "tf"] = "drop"
) -> Tensor:
    """AGDL (eq. 9-10): mean of A | |d prediction| - |d target| | over both directions, d = forward difference.

    A weighs each difference at its left or upper pixel. ``edge="drop"`` gives the last column and row no difference;
    ``"tf"`` compares them with a zero beyond the border, as the TensorFlow original's SAME convolution does.

    It compares magnitudes, so a picture with a colour channel turned into its negative has no loss at all; and where nothing
    moves it weighs B against the content loss's B squared, ten times more. A network that starts with a negative channel stays
    there: leaving it means passing through a channel without contrast. So training begins with the content loss alone and lets
    this one rise (``gradient_warmup``).
    """
    return weighed.attention_loss(predicted, target, attention, content_weight=0.0, edge=edge)[0]


def adversarial_loss(judged_fake: Tensor) -> Tensor:
    """Eq. 11, least squares: mean (D(prediction) - 1)^2 / 2, for the generator."""
    return (judged_fake - 1).square().mean() / 2


def discriminator_loss(judged_real: Tensor, judged_fake: Tensor) -> Tensor:
    """Eq. 13: mean (D(target) - 1)^2 / 2 + mean D(prediction)^2 / 2; ``judged_fake`` comes from a detached prediction."""
    return (judged_real - 1).square().mean() / 2 + judged_fake.square().mean() / 2


# ------------------------------------------------------------------------------------------------ score


class Scorer(nn.Module):
    """The one graph that is evaluated, exported and shipped: uint8 window in, PSNR and error map of ``prediction.frame_score`` out.

    Shapes: frames uint8 [B, 5, H, W, 3] -> components float32 [B, 1] in dB, heatmap float32 [B, H/8, W/8] (mean squared
    error in [0, 1] of each 8x8 cell).
    """

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Returns (components, heatmap) of a batch of windows."""
        clip = signed_clip(frames)  # [B, 5, 3, H, W]
        predicted = predict(self.generator, clip)
        return frame_score(predicted, clip[:, -1], full_range=2, cell_px=HEATMAP_CELL_PX)


def predict(generator: nn.Module, clip: Tensor) -> Tensor:
    """The predicted, or reconstructed, last frame [B, 3, H, W] of a clip [B, T, 3, H, W] in [-1, 1]."""
    return generator(clip[:, : generator.n_inputs].flatten(1, 2))
