r"""MTL: multi-task anomaly detection with attention (Baradaran and Bergevin, "Multi-Task Learning based VAD with Attention", 2210.07697).

Two students learn from normal video what teachers see: one, from two frames, the segmentation of the next; the other, from one frame
and a little context, how fast its foreground moves. What is abnormal, students see otherwise than teachers: two scores. Teachers are
asked while a film is scored, too; what they see reaches this graph as two pictures behind the frames (``vadfast.teachers.codes``).

There is no published code. What the paper leaves open, and what is done here:

    section 3.1  how a segmentation becomes a target of a squared error ("image translation"): a channel for each class, 1 inside and 0
                 outside, background among them. ``semantic="index"`` is the literal one: index / (classes - 1) in one channel.
    section 3.2  flow is not said: Farneback's. A movement's unit is the 99.9th percentile of the foreground's in the training video,
                 not clipped: what moves faster than anything there must stand out.
    fig. 4       the layers of the attention are not given: ``vgg16_unet.ContextAttention``. Its angles are 0 where nothing moves; that
                 something moves, though not how fast, is thereby told (a soft gate that would hide it is left out: no number is printed for it).
    eq. 5        garbled; a Savitzky-Golay filter, length 21 and order 2, is taken.
    section 3.5  either branch raises an alert; as one score, the larger of both in standard deviations of training video.
    alignment    frame t is judged by the map of t that t-2 and t-1 predict, and by the movement from t-1 to t: from frame 2 on.
"""

from typing import Literal, NamedTuple

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from vadfast.models.imagenet import normalise
from vadfast.models.meaning import Meaning
from vadfast.models.prediction import cells, channels_first
from vadfast.models.resnet34_unet import ResNet34UNet
from vadfast.models.vgg16_unet import Position, VGG16UNet
from vadfast.runtime.manifest import Chain, Component, RobustZ, SavitzkyGolay
from vadfast.teachers.codes import FLOW, SCENE
from vadfast.teachers.settings import TeacherSettings, Where

N_FRAMES = 3  # two in and the one that is judged
HEATMAP_CELL_PX = 8
_LEAST = 1e-6  # of a scale: a branch that never erred has none


class MTLConfig(TeacherSettings):
    """What makes one MTL model different from another; its teachers' settings are its own."""

    image_size: PositiveInt = Field(default=256, multiple_of=32)
    width: PositiveInt = Field(default=64, multiple_of=4)
    branches: Literal["both", "appearance", "motion"] = "both"
    future: bool = True  # the map of the frame after the two; False: of the second
    semantic: Literal["onehot", "index"] = "onehot"
    attention: Position = "decoder"
    scse: bool = True
    # Of the steps, at the start: the mean of all patches instead of the worst, which alone would have a gradient. An epoch of 40.
    warmup_share: float = Field(default=1 / 40, ge=0, lt=1)
    # Files of ImageNet's, read when a run begins; a resumed one has weights of its own.
    appearance_weights: Where | None = None
    motion_weights: Where | None = None

    @property
    def teachers(self) -> TeacherSettings:
        """What the runtime needs to make the teachers' pictures."""
        return TeacherSettings(**{k: getattr(self, k) for k in TeacherSettings.model_fields})

    @property
    def names(self) -> tuple[str, ...]:
        """The branches that there are."""
        return ("appearance", "motion") if self.branches == "both" else (self.branches,)


# Rows of the paper's tables, as options: tasks, the motion branch with the attention at each position and without, parts left out.
ABLATIONS: dict[str, dict[str, object]] = {
    "seg": {"branches": "appearance", "future": False},
    "ofm": {"branches": "motion"},
    "seg-pred": {"branches": "appearance"},
    "seg-ofm": {"future": False},
    "unet": {"branches": "motion", "attention": "none", "scse": False},
    "no-attention": {"attention": "none"},
    "no-scse": {"scse": False},
    **{
        f"attention-{p}": {"branches": "motion", "attention": p, "scse": False}
        for p in ("skip", "encoder", "decoder", "final")
    },
}


Options = MTLConfig


def meaning(config: MTLConfig) -> Meaning:
    """What a model with these branches returns."""
    weights = dict.fromkeys(config.names, 1.0)
    return Meaning(
        tuple(Component(name=name, unit="sd", high_is="abnormal") for name in config.names),
        Chain(steps=(SavitzkyGolay(side="both"),), weights=weights, combine="max"),
        Chain(steps=(RobustZ(), SavitzkyGolay(side="past")), weights=weights, combine="max"),
    )


class Taught(NamedTuple):
    """What the teachers see of the frame that is judged."""

    movement: Tensor  # [B, 1, H, W], 0 outside of the foreground; 1 is fast
    context: Tensor  # [B, 3, H, W]: |cos a|, |sin a| of the flow, depth
    semantic: Tensor  # [B, C, H, W]: of each class where it is, or the index


class Pair(NamedTuple):
    """A student and its teacher, [B, C, H, W] each."""

    student: Tensor
    teacher: Tensor


class Network(nn.Module):
    """Both students, and what their answers are measured in: the unit of a movement, mean and deviation of each branch's error."""

    movement_scale: Tensor  # px a frame
    error_mean: Tensor
    error_std: Tensor

    def __init__(self, config: MTLConfig) -> None:
        super().__init__()
        self.config = config
        n_channels = config.segmentation.n_classes if config.semantic == "onehot" else 1
        students: dict[str, nn.Module] = {
            "appearance": ResNet34UNet(6, n_channels, width=config.width),
            "motion": VGG16UNet(width=config.width, scse=config.scse, attention=config.attention),
        }
        self.students = nn.ModuleDict({name: students[name] for name in config.names})
        self.register_buffer("movement_scale", torch.ones(()))
        self.register_buffer("error_mean", torch.zeros(len(config.names)))
        self.register_buffer("error_std", torch.ones(len(config.names)))

    def forward(self, windows: Tensor) -> dict[str, Pair]:
        """Returns, by branch, what student and teacher say of windows uint8 [B, 3 + 2, H, W, 3]."""
        pictures = channels_first(windows)  # [B, 5, 3, H, W]
        clip, taught = normalise(pictures[:, :N_FRAMES]), self.taught(pictures[:, N_FRAMES:])
        found = {}
        if "appearance" in self.students:
            two = clip[:, :2] if self.config.future else clip[:, 1:]
            found["appearance"] = Pair(
                self.students["appearance"](two.flatten(1, 2)), taught.semantic
            )
        if "motion" in self.students:
            student = self.students["motion"](clip[:, -1], taught.context)
            found["motion"] = Pair(student, taught.movement)
        return found

    def taught(self, pictures: Tensor) -> Taught:
        """Reads the teachers' pictures [B, 2, 3, H, W] in [0, 255]."""
        flow, scene = pictures[:, FLOW] / 255, pictures[:, SCENE]
        index, depth, foreground = scene[:, :1], scene[:, 1:2] / 255, scene[:, 2:] / 255
        movement = flow[:, :1].square() * (self.config.flow_max_px / self.movement_scale)
        n_classes = self.config.segmentation.n_classes
        if self.config.semantic == "index":
            semantic = index / (n_classes - 1)
        else:
            classes = torch.arange(n_classes, device=index.device).to(index.dtype)
            # 1 where they are equal, without a comparison, which not every engine has for floats.
            semantic = (1 - (index - classes.view(1, -1, 1, 1)).abs()).clamp_min(0)
        return Taught(movement * foreground, torch.cat([flow[:, 1:], depth], dim=1), semantic)


class Scorer(nn.Module):
    """The one graph that is evaluated, exported and shipped: a window with its teachers' pictures in, the branches' errors out.

        e[b, k]           mean over channels and pixels of |student - teacher| of branch k
        components[b, k]  (e[b, k] - mean) / std,  both of training video
        heatmap[b]        max over k of the mean over channels and a cell's pixels of |student - teacher|, over the mean of training video

    The paper sums over channels and pixels: e times their number, which the standardisation takes out.

    Shapes: uint8 [B, 5, H, W, 3], three frames and two pictures -> components float32 [B, K], heatmap float32 [B, H/8, W/8].
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Returns (components, heatmap) of a batch of windows."""
        off = errors(self.network(frames))
        mean, std = self.network.error_mean, self.network.error_std.clamp_min(_LEAST)
        means = torch.stack([e.mean(dim=(1, 2, 3)) for e in off], dim=1)  # [B, K]
        maps = torch.stack([cells(e, HEATMAP_CELL_PX) for e in off], dim=1)  # [B, K, h, w]
        heatmap = (maps / mean.clamp_min(_LEAST).view(1, -1, 1, 1)).amax(dim=1)
        return (means - mean) / std, heatmap


def errors(pairs: dict[str, Pair]) -> list[Tensor]:
    """|student - teacher| of each branch [B, C, H, W], in order."""
    return [(pair.student - pair.teacher).abs() for pair in pairs.values()]
