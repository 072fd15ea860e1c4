"""The training step by fused operators against the same written out in plain formulas."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from vadfast.data.clips import Batch
from vadfast.models import adl
from vadfast.models.prediction import signed_clip
from vadfast.train.adl import ADLTraining
from vadfast.train.config import RunConfig

N_STEPS = 20


class PlainTraining(ADLTraining):
    """Content and gradient loss as ``vadfast.models.adl`` has them."""

    def _attention(self, frames: Tensor, batch: Batch) -> Tensor:
        options = self.config.options
        if options.attention == "none":
            return torch.ones(())
        return adl.attention_map(signed_clip(frames), background=options.background)

    def _generator_losses(
        self,
        predicted: Tensor,
        target: Tensor,
        previous: Tensor,
        attention: Tensor,
        gradient_weight: float,
    ) -> tuple[dict[str, Tensor], Tensor]:
        options = self.config.options
        content = adl.content_loss(predicted, target, attention)
        by_pixel = attention.expand_as(predicted)
        scale = attention.mean()
        if not options.gradient_attention:
            by_pixel, scale = torch.ones_like(by_pixel), torch.ones(())
        gradient = adl.gradient_loss(predicted, target, by_pixel, edge=options.gradient_edge)
        if options.normalise_attention:
            content, gradient = content / attention.square().mean(), gradient / scale
        total = options.content_weight * content + gradient_weight * gradient
        return {"content": content, "gradient": gradient}, total


def _training(kind: type[ADLTraining], **options: object) -> ADLTraining:
    torch.manual_seed(0)
    size = {"image_size": 16, "width": 2, "adversarial_weight": 0, "gradient_warmup": 5}
    values = {"data": "films", "dataset": "folder", "steps": 100, "options": size | options}
    return kind(RunConfig.parse(values, where="test"), None)


def _clips(number: int) -> Batch:
    """A square that moves over noise, in two clips of five frames."""
    generator = torch.Generator().manual_seed(number)
    frames = torch.randint(0, 40, (2, 5, 16, 16, 3), generator=generator, dtype=torch.uint8)
    for t in range(5):
        frames[:, t, 4:9, t + 2 : t + 7] += 180
    return Batch(frames.numpy(), WHERE, WHERE)


OPTIONS = (
    {},
    {"attention": "none", "content_weight": 0.7, "gradient_weight": 1.3},
    {"normalise_attention": True, "gradient_edge": "tf"},
    {"normalise_attention": True, "gradient_attention": False},
)
WHERE = np.zeros(2, np.int64)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_each_fused_step_is_the_plain_one(options: dict[str, object]) -> None:
    fused, plain = (_training(kind, **options) for kind in (ADLTraining, PlainTraining))
    for number in range(N_STEPS):
        fused.restore(copy.deepcopy(plain.state()))
        found, wanted = (x.step(_clips(number), number) for x in (fused, plain))
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-7)
        # Adam's steps are as long as the rate, of small gradients too.
        off = float((_weights(fused) - _weights(plain)).abs().max())
        assert off < 0.01 * plain.config.learning_rate, number


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_fused_and_plain_runs_stay_together(options: dict[str, object]) -> None:
    fused, plain = (_training(kind, **options) for kind in (ADLTraining, PlainTraining))
    start = _weights(plain)
    for number in range(N_STEPS):
        found, wanted = (x.step(_clips(number), number) for x in (fused, plain))
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-7)
    trained = _weights(plain)
    # 1e-6 of the way where no unit is at the corner of its ReLU; round-off that sets one the other way made it 0.03.
    assert float((_weights(fused) - trained).norm()) < 0.1 * float((trained - start).norm())


def _weights(training: ADLTraining) -> Tensor:
    return torch.cat([x.detach().flatten().clone() for x in training.network.parameters()])


def test_a_map_of_nothing_makes_the_losses_not_finite() -> None:
    # Nothing moves, no background, and the losses are to be divided by the map's mean: the loop stops on such a loss.
    training = _training(ADLTraining, normalise_attention=True, background=0.0)
    still = Batch(np.zeros((2, 5, 16, 16, 3), np.uint8), WHERE, WHERE)
    losses = training.step(still, 10)
    assert math.isnan(losses["content"])
