"""Training of STA: all its losses together, Adam, gradients cut at a norm of 1, the rate falling linearly to 0.

The cut is for the ReLU RNN, which can explode over 32 segments. Films held out of training are scored now and then; their AUC is in
the log, and nothing else is chosen by it.
"""

import logging
import math
from typing import Any

import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from vadfast.data.bags import FeatureSet
from vadfast.fusion.fuse import fuse
from vadfast.models import sta
from vadfast.train.bags import BagBatch, Bags, open_bags
from vadfast.train.config import RunConfig
from vadfast.train.training import autocast, set_rate

log = logging.getLogger(__name__)

BATCH, LEARNING_RATE = 60, 1e-4
MAX_GRADIENT_NORM = 1.0
HELD_OUT_EVERY = 10  # steps, those that the log shows
_FEW_ACTIVE = 0.01


def open_training(config: RunConfig, dataset: FeatureSet) -> tuple["STATraining", Bags]:
    """The network of a run, and the bags it learns from."""
    bags = open_bags(config, dataset)
    return STATraining(config, bags.held_out), bags


class STATraining:
    """The network, fused, and its optimiser."""

    def __init__(self, config: RunConfig, held_out: tuple[Tensor, Tensor]) -> None:
        """``held_out`` are normal and abnormal bags [V, N, C] that no step is trained on."""
        self.config = config
        self._options: sta.STAConfig = config.options
        self._device = torch.device(config.device)
        self._held_out = held_out
        self._said_inactive = False
        self.network = sta.Network(self._options).to(self._device)
        fuse(self.network)
        self._optimizer = torch.optim.Adam(self.network.parameters(), lr=config.learning_rate)

    def step(self, batch: BagBatch, number: int) -> dict[str, Tensor]:
        """Trains on bags; returns the losses as ``sta.losses`` has them, and ``active`` and ``held_out_auc`` beside."""
        # Dropout too is a function of seed and step, or a resumed run would drop others.
        torch.manual_seed(self.config.seed * 1_000_003 + number)
        self.network.train()
        with autocast(self.config):
            scored = self.network(torch.cat([batch.normal, batch.abnormal]).to(self._device))
        half = len(batch.normal)
        normal, abnormal = (
            sta.Scored(scored.scores[part].float(), scored.features[part])
            for part in (slice(half), slice(half, None))
        )
        total, parts, active = sta.losses(normal, abnormal, self._options)
        self._optimizer.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), MAX_GRADIENT_NORM)
        set_rate(self._optimizer, self.config.learning_rate * (1 - number / self.config.steps))
        self._optimizer.step()
        shown = {name: part.detach() for name, part in parts.items()}
        if active is not None:
            shown["active"] = active
            self._warn_where_inactive(float(active))
        if (number + 1) % HELD_OUT_EVERY == 0 and all(len(bags) for bags in self._held_out):
            shown["held_out_auc"] = torch.tensor(self._held_out_auc())
        return shown

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs."""
        return {"network": self.network.state_dict(), "optimizer": self._optimizer.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on where ``state`` was taken."""
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])

    def _held_out_auc(self) -> float:
        self.network.eval()
        with torch.no_grad():
            highest = [self.network(b.to(self._device)).scores.amax(dim=1) for b in self._held_out]
        labels = torch.cat([torch.full_like(h, kind) for kind, h in enumerate(highest)])
        scores = torch.cat(highest)
        if not scores.isfinite().all():
            return math.nan  # which the loop stops at, with step and losses
        return float(roc_auc_score(labels.cpu(), scores.cpu()))

    def _warn_where_inactive(self, active: float) -> None:
        if self._said_inactive or active >= _FEW_ACTIVE:
            return
        self._said_inactive = True
        options = self._options
        side = "above" if options.mce == "min" else "below"
        log.warning(
            "sta: %.0f %% of the pairs of abnormal segments lie %s the margin %g, so the abnormal half of mutual cosine embedding "
            "has no gradient; --set centred=true brings it to life, --set mce=off leaves it out",
            100 * (1 - active),
            side,
            options.margin,
        )
