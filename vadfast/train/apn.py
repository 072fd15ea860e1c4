"""Training of APN: one stage, all losses together, AdamW with a rate that falls as half a cosine."""

import math
from typing import Any

import torch
from torch import Tensor

from vadfast.data.clips import Batch
from vadfast.data.datasets import Dataset
from vadfast.fusion.fuse import fuse
from vadfast.models import apn
from vadfast.models.prediction import signed_clip
from vadfast.train.clips import Clips, open_clips
from vadfast.train.config import RunConfig
from vadfast.train.training import autocast, set_rate

BATCH, LEARNING_RATE = 4, 1e-4


def open_training(config: RunConfig, dataset: Dataset) -> tuple["APNTraining", Clips]:
    """The network of a run, and the clips it learns from."""
    return APNTraining(config), open_clips(config, dataset)


class APNTraining:
    """The network, fused, and its optimiser."""

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self._options: apn.APNConfig = config.options
        self._device = torch.device(config.device)
        self.network = apn.Network(self._options).to(self._device)
        fuse(self.network)
        unit = self.network.unit
        trained = self.network if self._options.trained == "all" or unit is None else unit
        self.network.requires_grad_(False)
        trained.requires_grad_(True)
        self._optimizer = torch.optim.AdamW(trained.parameters(), lr=config.learning_rate)

    def step(self, batch: Batch, number: int) -> dict[str, Tensor]:
        """Trains on clips; returns the losses, as ``apn.losses`` has them."""
        clip = signed_clip(torch.from_numpy(batch.frames).to(self._device))  # [B, T, 3, H, W]
        with autocast(self.config):
            prediction = self.network(clip[:, :-1].flatten(1, 2))
        # Outside: SSIM and covariance are small differences of large sums, which bf16 has no digits for.
        found = apn.losses(prediction.float(), clip[:, -1], self._options)
        weights = {"frame": 1.0} | {
            name: getattr(self._options, f"{name}_weight") for name in found if name != "frame"
        }
        total = torch.stack([weights[name] * loss for name, loss in found.items()]).sum()
        self._optimizer.zero_grad(set_to_none=True)
        total.backward()
        turn = math.pi * number / self.config.steps
        set_rate(self._optimizer, self.config.learning_rate * (1 + math.cos(turn)) / 2)
        self._optimizer.step()
        return {name: loss.detach() for name, loss in found.items()}

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs."""
        return {"network": self.network.state_dict(), "optimizer": self._optimizer.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on where ``state`` was taken."""
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
