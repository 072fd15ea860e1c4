"""The autoencoders that ADL is compared with, and the rows of its tables that need them."""

from pathlib import Path

import pytest
import torch

from tests.models.exported import assert_engines_agree
from vadfast.errors import UsageError
from vadfast.models import adl
from vadfast.models.conv_ae import ConvAE
from vadfast.models.convlstm_ae import ConvLSTMAE
from vadfast.runtime.manifest import InputSpec

SIDE, WIDTH = 16, 4


def options(architecture: str) -> adl.ADLConfig:
    return adl.ADLConfig.parse(
        {"architecture": architecture, "image_size": SIDE, "width": WIDTH}, where="test"
    )


@pytest.mark.parametrize("network", [ConvAE(width=WIDTH), ConvLSTMAE(width=WIDTH)])
def test_every_frame_and_every_parameter_counts(network: torch.nn.Module) -> None:
    torch.manual_seed(0)
    frames = (torch.rand(2, 15, SIDE, SIDE) * 2 - 1).requires_grad_()
    seen = network(frames)
    assert seen.shape == (2, 3, SIDE, SIDE)
    assert seen.abs().max() <= 1
    seen.square().sum().backward()
    assert frames.grad is not None
    of_frames = frames.grad.unflatten(1, (5, 3)).abs().sum(dim=(0, 2, 3, 4))  # [5]
    assert (of_frames > 0).all()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_the_convlstm_is_its_recurrence() -> None:
    torch.manual_seed(0)
    network = ConvLSTMAE(width=1)
    frames = torch.rand(1, 15, 8, 8)  # codes of 1 x 1: the gates' middle taps alone
    weight, bias = network.gates.weight[:, :, 1, 1], network.gates.bias
    h, c = torch.zeros(4), torch.zeros(4)
    for t in range(5):
        x = network.encoder(frames[:, 3 * t : 3 * t + 3])[0, :, 0, 0]
        i, f, o, g = (weight @ torch.cat([x, h]) + bias).chunk(4)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
    wanted = network.decoder(h.view(1, 4, 1, 1))
    torch.testing.assert_close(network(frames), wanted, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("architecture", ["unet", "conv-ae", "convlstm-ae"])
def test_a_prediction_never_sees_its_target_and_a_reconstruction_does(architecture: str) -> None:
    network = adl.Network(options(architecture))
    clip = torch.rand(1, 5, 3, SIDE, SIDE) * 2 - 1
    other = clip.clone()
    other[:, -1] = -other[:, -1]
    same = torch.equal(adl.predict(network, clip), adl.predict(network, other))
    assert same == (architecture == "unet")


@pytest.mark.parametrize("architecture", ["conv-ae", "convlstm-ae"])
def test_the_exported_file_gives_the_same_scores(architecture: str, tmp_path: Path) -> None:
    scorer = adl.Scorer(adl.Network(options(architecture))).eval()
    spec = InputSpec(n_frames=5, height=SIDE, width=SIDE)
    assert_engines_agree(scorer, spec, adl.COMPONENTS, tmp_path / "model.onnx")


def test_a_normalisation_that_a_network_has_not_is_refused() -> None:
    with pytest.raises(UsageError, match="norm must be 'none' with architecture 'conv-ae'"):
        adl.ADLConfig.parse({"architecture": "conv-ae", "norm": "batch"}, where="test")


def test_every_row_of_the_tables_is_a_configuration() -> None:
    for row, given in adl.ABLATIONS.items():
        adl.ADLConfig.parse(dict(given), where=row)
