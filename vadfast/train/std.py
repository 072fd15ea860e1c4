"""Training of STD: both autoencoders alone, k-means of their codes, then autoencoders and centres in turn, batch by batch."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from vadfast_kernels import ops

from vadfast.data.clips import Batch
from vadfast.data.datasets import Dataset
from vadfast.errors import TrainingError
from vadfast.fusion.fuse import fuse
from vadfast.layers import ClusterDistance
from vadfast.models import std
from vadfast.models.prediction import unit_clip
from vadfast.train.clips import Clips, open_clips
from vadfast.train.config import RunConfig
from vadfast.train.training import autocast, set_rate

BATCH, LEARNING_RATE = 4, 1e-4
CENTRE_RATE = 0.1  # of the rate: what the centres, and the convolutions that make the codes, move by in their turn
KMEANS_POINTS = 200_000
KMEANS_BATCHES = 500


def open_training(config: RunConfig, dataset: Dataset) -> tuple["STDTraining", Clips]:
    """The networks of a run, and the clips they learn from."""
    clips = open_clips(config, dataset)
    return STDTraining(config, clips), clips


class STDTraining:
    """Both streams, fused, the centres, and an optimiser for each of the two turns."""

    def __init__(self, config: RunConfig, clips: Clips) -> None:
        """``clips`` are what k-means sees, when its step comes."""
        self.config = config
        self._clips = clips
        self._options: std.STDConfig = config.options
        self._device = torch.device(config.device)
        self.network = std.Network(self._options).to(self._device)
        fuse(self.network)
        network = self.network
        streams = [m for m in (network.appearance, network.motion) if m is not None]
        self._optimizer = torch.optim.Adam(
            [p for m in streams for p in m.parameters()], lr=config.learning_rate
        )
        # Without centres k-means never comes, and streams alone are trained.
        self._clustered_from = config.steps
        self._c_optimizer: torch.optim.Adam | None = None
        if network.clusters is not None:
            appearance, motion = network.both()
            coded = [appearance.code[0], motion.code]
            in_turn = [*(p for c in coded for p in c.parameters()), network.clusters.centres]
            # The last step at the latest: a whole run has centres.
            stage = round(config.steps * self._options.autoencoder_share)
            self._clustered_from = min(stage, config.steps - 1)
            self._c_optimizer = torch.optim.Adam(in_turn, lr=config.learning_rate)
            self._check_clusters()

    def step(self, batch: Batch, number: int) -> dict[str, Tensor]:
        """Trains on clips; before the first step with clusters, k-means gives the centres their values."""
        clusters = self.network.clusters
        clustered = clusters is not None and number >= self._clustered_from
        if clusters is not None and number == self._clustered_from:
            self._find_centres(clusters, number)
        clip = unit_clip(torch.from_numpy(batch.frames).to(self._device))  # [B, T, 3, H, W]
        frames = clip[:, :-1].flatten(1, 2)
        rate = self.config.learning_rate * (1 - number / self.config.steps)
        losses = self._streams_turn(frames, clip, rate, clustered=clustered)
        if clusters is not None and clustered:
            losses["cluster"] = self._centres_turn(clusters, frames, rate)
        return {name: loss.detach() for name, loss in losses.items()}

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs."""
        optimizers = {"optimizer": self._optimizer, "c_optimizer": self._c_optimizer}
        states = {name: o.state_dict() for name, o in optimizers.items() if o is not None}
        return {"network": self.network.state_dict()} | states

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on where ``state`` was taken."""
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        if self._c_optimizer is not None:
            self._c_optimizer.load_state_dict(state["c_optimizer"])

    @property
    def _n_positions(self) -> int:
        """Codes of a clip."""
        return (self._options.image_size // std.HEATMAP_CELL_PX) ** 2

    @property
    def _sampled(self) -> tuple[int, int]:
        """What k-means sees: batches, an epoch or as many as are enough, and codes of each."""
        n_batches = min(KMEANS_BATCHES, -(-len(self._clips.sampler.starts) // self.config.batch))
        return n_batches, min(self.config.batch * self._n_positions, KMEANS_POINTS // n_batches)

    def _check_clusters(self) -> None:
        # Before the first step: k-means comes when a third of them are done.
        wanted = self._options.n_clusters
        n_batches, n_of_batch = self._sampled
        # The last batch may begin the next epoch: what is seen twice counts once.
        n_codes = min(n_batches * n_of_batch, len(self._clips.sampler.starts) * self._n_positions)
        if n_codes < wanted:
            raise TrainingError(
                f"k-means: must have at least as many codes as clusters ({wanted}), got {n_codes}; "
                "give more video, or fewer clusters with --set n_clusters=N"
            )

    def _streams_turn(
        self, frames: Tensor, clip: Tensor, rate: float, *, clustered: bool
    ) -> dict[str, Tensor]:
        """Eq. 12: appearance, motion with its gradient term, and the distance from the centres once they are there."""
        options = self._options
        losses: dict[str, Tensor] = {}
        with autocast(self.config):
            first, difference, distance = self.network(frames)
        total = torch.zeros((), device=self._device)
        if first is not None:
            losses["appearance"] = (first.float() - clip[:, 0]).square().mean()
            total = total + losses["appearance"]
        if difference is not None:
            predicted, target = (difference + clip[:, 0]).float(), clip[:, -1].contiguous()
            # |difference - (x5 - x1)| is |predicted - x5|, so one operator has both terms of eq. 6; it weighs nothing here.
            everywhere = torch.ones((), device=self._device).expand(len(clip), 1, *clip.shape[3:])
            motion, losses["motion"], losses["gradient"] = ops.attention_loss(
                predicted, target, everywhere, gradient_weight=options.gradient_weight
            )
            total = total + motion
        if clustered:
            total = total + options.cluster_weight * self._cluster_loss(distance)
        self._optimizer.zero_grad(set_to_none=True)
        total.backward()
        set_rate(self._optimizer, rate)
        self._optimizer.step()
        return losses

    def _centres_turn(self, clusters: ClusterDistance, frames: Tensor, rate: float) -> Tensor:
        assert self._c_optimizer is not None  # there are centres
        with autocast(self.config):
            distance = clusters(self.network.codes(frames))
        loss = self._cluster_loss(distance)
        self._c_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        set_rate(self._c_optimizer, rate * CENTRE_RATE)
        self._c_optimizer.step()
        return loss

    def _cluster_loss(self, distance: Tensor) -> Tensor:
        return distance.float().mean() / self._options.n_clusters

    @torch.no_grad()
    def _find_centres(self, clusters: ClusterDistance, number: int) -> None:
        """k-means++ over codes of training clips; a function of the seed and the weights."""
        from sklearn.cluster import MiniBatchKMeans

        codes = self._codes(number)
        found = MiniBatchKMeans(
            self._options.n_clusters, random_state=self.config.seed, n_init=3, batch_size=4096
        )
        centres = found.fit(codes).cluster_centers_
        clusters.centres.copy_(torch.from_numpy(centres).to(self._device))
        self.network.found.fill_(1)

    def _codes(self, number: int) -> np.ndarray:
        """Codes [n, 16 neck] of at most KMEANS_POINTS positions, as many of each batch."""
        n_batches, n_of_batch = self._sampled
        chooser = np.random.default_rng([self.config.seed, number])
        found: list[np.ndarray] = []
        training = self.network.training
        self.network.eval()
        for batch in self._clips.batches(0, n_batches):
            clip = unit_clip(torch.from_numpy(batch.frames).to(self._device))
            codes = self.network.codes(clip[:, :-1].flatten(1, 2)).flatten(2).mT.flatten(0, 1)
            chosen = chooser.choice(len(codes), n_of_batch, replace=False)
            found.append(codes[torch.from_numpy(chosen).to(codes.device)].float().cpu().numpy())
        self.network.train(training)
        return np.concatenate(found)
