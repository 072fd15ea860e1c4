"""Pitfalls of networks and losses that papers and published code disagree about; numbers as in docs/methods.md."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vadfast.layers import PrototypeUnit
from vadfast.models import adl, apn
from vadfast.models.eager import EagerEngine
from vadfast.runtime.manifest import InputSpec

SIDE = 16


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_02_content_weighs_by_a_squared_and_gradient_by_a() -> None:
    predicted, target = torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8)
    ones, half = torch.ones(1, 3, 8, 8), torch.full((1, 3, 8, 8), 0.5)
    content = adl.content_loss(predicted, target, half) / adl.content_loss(predicted, target, ones)
    gradient = adl.gradient_loss(predicted, target, half) / adl.gradient_loss(
        predicted, target, ones
    )
    assert (float(content), float(gradient)) == (pytest.approx(0.25), pytest.approx(0.5))


def test_02_no_gradient_flows_through_the_map() -> None:
    clip = torch.rand(1, 5, 3, 8, 8, requires_grad=True)
    assert not adl.attention_map(clip).requires_grad


def test_04_up_convolutions_and_the_relu_behind_them() -> None:
    unet = adl.Generator(adl.ADLConfig(image_size=SIDE, width=4))
    network = apn.Network(apn.APNConfig(image_size=SIDE, width=8))
    ups = [m for m in unet.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert {(m.kernel_size, m.stride, m.padding) for m in ups} == {((2, 2), (2, 2), (0, 0))}
    ups = [m for m in network.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert {(m.kernel_size, m.stride, m.padding, m.output_padding) for m in ups} == {
        ((3, 3), (2, 2), (1, 1), (1, 1))
    }
    seen: list[Tensor] = []
    unet.d3.register_forward_pre_hook(lambda _, x: seen.append(x[0][:, -16:]))
    unet(torch.rand(1, 12, SIDE, SIDE) * 2 - 1)
    network.decoder[0].register_forward_pre_hook(lambda _, x: seen.append(x[0][:, -16:]))
    network(torch.rand(1, 12, SIDE, SIDE) * 2 - 1)
    for up in seen:  # half of what ReLU gets is negative
        assert (up >= 0).all()
        assert (up == 0).float().mean() > 0.1


def test_05_the_discriminator_reflects_at_its_edges_and_ends_in_a_sigmoid() -> None:
    judge = adl.Discriminator(adl.ADLConfig(image_size=32, width=2))
    of_constant = judge(torch.full((1, 3, 32, 32), 0.7)).detach()
    # A reflected constant has no edge; padded with zeros it would have one.
    assert float(of_constant.max() - of_constant.min()) < 1e-6
    extreme = judge(torch.randn(1, 3, 32, 32) * 100)
    assert ((extreme >= 0) & (extreme <= 1)).all()


def test_09_apn_has_the_terms_that_learn_and_no_other() -> None:
    config = apn.APNConfig(image_size=SIDE, width=8)
    prediction = apn.Network(config)(torch.rand(1, 12, SIDE, SIDE) * 2 - 1)
    terms = apn.losses(prediction, torch.zeros(1, 3, SIDE, SIDE), config)
    # The constant "sim" of the released code is not there, and SSIM only where it is given a weight.
    assert set(terms) == {"frame", "compactness", "diversity", "covariance"}
    assert (config.compactness_weight, config.diversity_weight, config.covariance_weight) == (1, 0.01, 0.01)  # fmt: skip
    assert all(term.requires_grad for term in terms.values())


class _Features(nn.Module):
    """A network whose features are two unit vectors at ``angle``, one in each half; its only prototype is their mean direction."""

    def __init__(self, channels: int, angle: float) -> None:
        super().__init__()
        self.unit = PrototypeUnit(channels, n_prototypes=1)
        nn.init.zeros_(self.unit.score.weight)  # all positions count alike
        self.z = torch.zeros(1, channels, 2, 2)
        self.z[:, 0] = 1.0
        self.z[:, :2, 1] = torch.tensor([math.cos(angle), math.sin(angle)])[:, None]

    def forward(self, frames: Tensor) -> apn.Prediction:
        return apn.Prediction(frames[:, -3:], self.unit(self.z))


@pytest.mark.parametrize("channels", [16, 128])
@pytest.mark.parametrize("angle", [0.2, 1.0])
def test_10_the_feature_error_is_averaged_over_channels(channels: int, angle: float) -> None:
    """|z - p|^2 of unit vectors is 2 - 2 cos whatever C is; its mean over channels is a C-th of that, so a PSNR is of one C."""
    network: Any = _Features(channels, angle)
    frames = torch.zeros(1, 5, SIDE, SIDE, 3, dtype=torch.uint8)
    components, _ = apn.Scorer(network)(frames)
    apart = 2 - 2 * math.cos(angle / 2)  # each half from the prototype between them
    assert float(components[0, 1].detach()) == pytest.approx(
        10 * math.log10(channels / apart), abs=1e-3
    )


def test_21_evaluation_changes_no_state_and_no_window_changes_another() -> None:
    config = adl.ADLConfig(image_size=SIDE, width=4, norm="batch")
    scorer = adl.Scorer(adl.Network(config))
    frames = torch.randint(0, 256, (3, 5, SIDE, SIDE, 3), dtype=torch.uint8).numpy()
    scorer.train()
    spec = InputSpec(n_frames=5, height=SIDE, width=SIDE)
    together = EagerEngine(scorer, spec, batch=3)
    before = {name: value.clone() for name, value in scorer.state_dict().items()}
    of_all = together(frames).components
    alone = EagerEngine(scorer, spec)
    for i in reversed(range(3)):
        of_one = alone(frames[i : i + 1]).components
        torch.testing.assert_close(torch.tensor(of_one[0]), torch.tensor(of_all[i]), atol=1e-4, rtol=0)  # fmt: skip
    assert all(torch.equal(value, before[name]) for name, value in scorer.state_dict().items())
    assert not torch.backends.cudnn.benchmark
