"""Training of MTL: the teachers look at all films once, then both students learn from them, each by its worst patch.

The students share nothing, so one optimiser of the sum of both losses trains them apart; Adam's rate is halved four times, after every
10 of the paper's 40 epochs.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from vadfast_kernels import ops

from vadfast.cli import talk
from vadfast.data.clips import Batch
from vadfast.data.datasets import Dataset
from vadfast.data.taught import open_taught
from vadfast.errors import TrainingError, UsageError
from vadfast.models import mtl
from vadfast.models.imagenet import load_weights
from vadfast.models.registry import CONFIG_FILE, input_spec
from vadfast.progress import steps
from vadfast.teachers.codes import FLOW, SCENE, magnitude_of
from vadfast.teachers.pictures import TeacherCost
from vadfast.train.clips import Clips, open_clips
from vadfast.train.config import RunConfig
from vadfast.train.training import autocast, set_rate

BATCH, LEARNING_RATE = 16, 1e-3
N_HALVINGS = 4
N_PATCHES = 4  # a side
UNIT_QUANTILE = 0.999
# A code that ends nearer than this to the unit of movement would clip what is to stand out.
LEAST_ROOM = 4
N_MEASURED = 64  # windows that the errors' mean and deviation are taken from


@dataclass(frozen=True)
class TaughtClips:
    """Clips of three frames, and the teachers' pictures of every frame of the store."""

    clips: Clips
    taught: np.ndarray  # uint8 [N, 2, H, W, 3]

    def windows(self, batch: Batch) -> Tensor:
        """Returns uint8 [B, 5, H, W, 3]: each clip, and the pictures of its last frame."""
        taught = self.taught[batch.last]
        return torch.from_numpy(np.concatenate([batch.frames, taught], axis=1))

    def spread(self, n: int) -> Tensor:
        """Returns ``n`` windows, or all there are, spread evenly over the films."""
        store, starts = self.clips.store, self.clips.sampler.starts
        at = np.linspace(0, len(starts) - 1, min(n, len(starts))).round().astype(int)
        frames = np.stack([store.frames[s : s + mtl.N_FRAMES] for s in starts[at]])
        films = self.clips.sampler.video[at]
        return self.windows(Batch(frames, films, starts[at] + mtl.N_FRAMES - 1))


def check(config: RunConfig) -> None:
    """Looks at what a new run begins with: ImageNet's weights, or the run of ``start_from`` and its teachers.

    Raises:
        UsageError: a file is absent or of another network, or the other run learned from teachers of another kind.
        VadfastError: a file is damaged.
    """
    options: mtl.MTLConfig = config.options
    if config.start_from is None:
        if options.appearance_weights or options.motion_weights:
            _take_imagenet(mtl.Network(options), options)
        return
    for key in ("appearance_weights", "motion_weights"):
        if getattr(options, key):
            raise UsageError(
                f"{key}: must be left out with --start-from, whose weights take its place, got {getattr(options, key)}; leave out one"
            )
    learned = RunConfig.load(Path(config.start_from) / CONFIG_FILE).options
    for key in ("segmentation", "depth"):  # flow has one kind
        theirs, ours = getattr(learned, key).teacher, getattr(options, key).teacher
        if theirs != ours:
            raise UsageError(
                f"--start-from {config.start_from}: must have learned from the same teachers, its {key} is {theirs}, and this run's "
                f"{ours}; --set {key}={theirs}, or train without --start-from"
            )


def open_training(config: RunConfig, dataset: Dataset) -> tuple["MTLTraining", Clips]:
    """The students of a run, and the clips they learn from; the teachers run now, unless the cache has what they saw."""
    clips = open_clips(config, dataset)
    settings, spec = config.options.teachers, input_spec(config, config.fps)
    cost = TeacherCost()
    with steps("teachers", None, unit="frames") as bar:
        taught = open_taught(
            dataset.train, clips.store, spec, settings, cost=cost,
            progress=lambda n, total: bar.update(n, total=total),
        )  # fmt: skip
    if cost.n_frames:
        talk.print(f"teachers: {cost.words} ms a frame, {cost.n_frames:,} frames")
    return MTLTraining(config, TaughtClips(clips, taught)), clips


class MTLTraining:
    """Both students and their optimiser."""

    def __init__(self, config: RunConfig, data: TaughtClips) -> None:
        """``data`` gives the unit of movement in ``begin``, and the errors' mean and deviation whenever the state is taken."""
        self.config = config
        self._options: mtl.MTLConfig = config.options
        self._device = torch.device(config.device)
        self._data = data
        self.network = mtl.Network(self._options).to(self._device)
        self._optimizer = torch.optim.Adam(self.network.parameters(), lr=config.learning_rate)

    def begin(self) -> None:
        """Takes ImageNet's weights, where nothing else was begun with, and the unit of movement of these films."""
        if self.config.start_from is None:
            _take_imagenet(self.network, self._options)
        self.network.movement_scale.fill_(_unit(self._data, self._options.flow_max_px))

    def step(self, batch: Batch, number: int) -> dict[str, Tensor]:
        """Trains on clips; returns the loss of each branch."""
        with autocast(self.config):
            pairs = self.network(self._data.windows(batch).to(self._device))
        worst = number >= self._options.warmup_share * self.config.steps
        losses = {name: _loss(pair, worst=worst) for name, pair in pairs.items()}
        self._optimizer.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()
        halvings = N_HALVINGS * number // self.config.steps
        set_rate(self._optimizer, self.config.learning_rate * 0.5**halvings)
        self._optimizer.step()
        return {name: loss.detach() for name, loss in losses.items()}

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs; what is saved can be scored by, so the errors are measured first."""
        self._measure()
        return {"network": self.network.state_dict(), "optimizer": self._optimizer.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on where ``state`` was taken."""
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])

    @torch.no_grad()
    def _measure(self) -> None:
        """Mean and deviation of each branch's error over training windows, as the scorer will compute it."""
        training = self.network.training
        self.network.eval()
        found = [
            torch.stack([e.mean(dim=(1, 2, 3)) for e in mtl.errors(self.network(windows))], dim=1)
            for windows in self._data.spread(N_MEASURED).to(self._device).split(self.config.batch)
        ]
        self.network.train(training)
        means = torch.cat(found)  # [n, K]
        self.network.error_mean.copy_(means.mean(dim=0))
        self.network.error_std.copy_(means.std(dim=0, correction=0))


def _loss(pair: mtl.Pair, *, worst: bool) -> Tensor:
    """Eq. 6, or the mean of all patches."""
    student, teacher = pair.student.float(), pair.teacher.float()
    if not worst:
        return F.mse_loss(student, teacher)
    loss: Tensor = ops.patch_max_loss(student, teacher, rows=N_PATCHES, columns=N_PATCHES)
    return loss


def _unit(data: TaughtClips, max_px: float) -> float:
    """The 99.9th percentile of the foreground's movement, px a frame, over the frames that are trained on."""
    counts = np.zeros(256, np.int64)
    offsets = data.clips.store.offsets
    for v, end in enumerate(data.clips.ends):
        # The first frame of a film has no movement.
        for pictures in data.taught[offsets[v] + 1 : offsets[v] + end]:
            codes = pictures[FLOW, ..., 0][pictures[SCENE, ..., 2] > 0]
            counts += np.bincount(codes, minlength=256)
    reached = np.searchsorted(counts.cumsum(), UNIT_QUANTILE * counts.sum())
    unit = float(magnitude_of(float(reached), max_px)) if counts.any() else 0.0
    if unit == 0:
        raise TrainingError(
            f"mtl: teachers must see foreground that moves in the training films, got none in {len(data.taught):,} frames; "
            "give video with movement, or another --set segmentation=..."
        )
    if unit * LEAST_ROOM > max_px:
        raise TrainingError(
            f"mtl: flow_max_px must be {LEAST_ROOM} times the unit of movement ({unit:.3g} px) or more, so that fast movers "
            f"are not clipped, got {max_px:g}; --set flow_max_px={LEAST_ROOM * unit:.0f}"
        )
    return unit


def _take_imagenet(network: mtl.Network, options: mtl.MTLConfig) -> None:
    students: Any = network.students
    if options.appearance_weights and "appearance" in students:
        load_weights(
            students["appearance"].encoder, options.appearance_weights, key="appearance_weights",
            source="torchvision's resnet34 (https://download.pytorch.org/models/resnet34-b627a593.pth)",
        )  # fmt: skip
    if options.motion_weights and "motion" in students:
        load_weights(
            nn.ModuleDict({"features": students["motion"].features}), options.motion_weights,
            key="motion_weights",
            source="torchvision's vgg16_bn (https://download.pytorch.org/models/vgg16_bn-6c64b313.pth)",
        )  # fmt: skip
