"""APN against its paper and the released network: sizes, products, features, scores, and the exported file."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tests.models.exported import assert_engines_agree
from vadfast.config import Config
from vadfast.errors import UsageError
from vadfast.fusion import fuse
from vadfast.layers import CrissCross
from vadfast.models import apn
from vadfast.runtime.manifest import InputSpec

MPN = {"levels": 4, "criss_cross": False}
SMALL = apn.APNConfig(image_size=16, width=8)


def _network(config: apn.APNConfig = SMALL) -> apn.Network:
    torch.manual_seed(0)
    network = apn.Network(config)
    for module in network.modules():
        if isinstance(module, CrissCross):
            nn.init.constant_(module.gamma, 0.5)  # at 0 the attention would not count
    return network


def _frames(batch: int = 2, size: int = 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (batch, apn.N_FRAMES, size, size, 3)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize(
    ("options", "parameters", "giga"), [({}, 3_364_022, 40.7), (MPN, 13_285_251, 44.4)]
)
def test_the_published_sizes(options: dict[str, object], parameters: int, giga: float) -> None:
    with torch.device("meta"):
        network = apn.Network(apn.APNConfig.model_validate(options))
        with FlopCounterMode(display=False) as counted:
            frame, prototypes = network(torch.zeros(1, 12, 256, 256))
    assert sum(p.numel() for p in network.parameters()) == parameters
    # The reference writes the unit's two weighted sums as broadcasts, which the counter does not see.
    sums = 2 * 256 * 256 * 128 * 10
    assert (counted.get_total_flops() / 2 + sums) / 1e9 == pytest.approx(giga, abs=0.05)
    assert frame.shape == (1, 3, 256, 256)
    assert prototypes.y.shape == (1, 128, 256, 256)
    assert prototypes.p.shape == (1, 10, 128)
    assert prototypes.compactness.shape == (1, 256, 256)


def test_features_have_length_1_and_the_answer_is_added_to_them() -> None:
    network = _network()
    seen: list[torch.Tensor] = []
    network.unit.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    frame, prototypes = network(torch.rand(2, 12, 16, 16) * 2 - 1)
    torch.testing.assert_close(seen[0].norm(dim=1), torch.ones(2, 16, 16))
    torch.testing.assert_close((prototypes.y - seen[0]).norm(dim=1), torch.ones(2, 16, 16))
    assert frame.abs().max() <= 1


def test_at_the_beginning_the_attention_doubles_the_features() -> None:
    # gamma is 0, and the released code has a residual outside of the layer's own.
    x = torch.randn(1, 8, 4, 4)
    assert torch.equal(apn.Network(SMALL).attention[0](x), 2 * x)
    plain = apn.Network(SMALL.model_copy(update={"criss_cross": False}))
    assert torch.equal(plain.attention[0](x), x)


def test_every_parameter_learns() -> None:
    network = _network()
    frame, prototypes = network(torch.rand(2, 12, 16, 16) * 2 - 1)
    (frame.square().mean() + prototypes.compactness.mean()).backward()
    still = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not still


def test_both_scores_are_those_of_the_test_script() -> None:
    network, frames = _network(), _frames()
    scorer = apn.Scorer(network).eval()
    with torch.inference_mode():
        components, heatmap = scorer(frames)
        clip = frames.double().permute(0, 1, 4, 2, 3) / 127.5 - 1
        frame, prototypes = network.double()(clip[:, :4].flatten(1, 2))
    mse = ((frame - clip[:, 4]) / 2).square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(components[:, 0].double(), -10 * mse.log10(), atol=1e-4, rtol=0)
    # mean over n and c of (z - p*)^2, C = 16
    distance = prototypes.compactness.flatten(1).mean(dim=1) / 16
    torch.testing.assert_close(components[:, 1].double(), -10 * distance.log10(), atol=1e-4, rtol=0)
    assert heatmap.shape == (2, 2, 2)
    torch.testing.assert_close(heatmap.mean(dim=(1, 2)).double(), mse, atol=1e-7, rtol=1e-5)


def test_the_exported_file_gives_the_same_scores(tmp_path: Path) -> None:
    spec = InputSpec(n_frames=apn.N_FRAMES, height=16, width=16)
    scorer = apn.Scorer(_network())
    assert_engines_agree(scorer, spec, apn.COMPONENTS, tmp_path / "model.onnx")


def test_without_a_prototype_unit_the_frame_is_all_that_is_scored() -> None:
    config = apn.APNConfig.model_validate(
        {"image_size": 16, "width": 8, "criss_cross": False, **apn.ABLATIONS["ae"]}
    )
    network, frames = _network(config), _frames()
    assert not [name for name, _ in network.named_parameters() if name.startswith("unit")]
    prediction = network(torch.rand(1, 12, 16, 16))
    assert set(apn.losses(prediction, torch.zeros(1, 3, 16, 16), config)) == {"frame"}
    components, chain, _ = apn.meaning(config)
    assert [c.name for c in components] == ["psnr"]
    assert chain.weights == {"psnr": 1.0}
    with torch.inference_mode():
        assert apn.Scorer(network)(frames)[0].shape == (2, 1)
    with pytest.raises(UsageError, match="n_prototypes must be at least 1"):
        apn.APNConfig.parse({"n_prototypes": 0, "trained": "prototypes"}, where="run.toml")


def test_its_attention_and_its_unit_have_fast_operators() -> None:
    plain, fused = apn.Scorer(_network()).eval(), apn.Scorer(_network()).eval()
    report = fuse(fused, "infer")
    assert [x.kind for x in report.layers] == ["CrissCross"] * 3 + ["PrototypeUnit"]
    assert report.n_fused == 4
    with torch.inference_mode():
        for found, wanted in zip(fused(_frames()), plain(_frames()), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("options", [{"levels": 5}, {"image_size": 12}, {"prototypes": 10}])
def test_a_configuration_that_cannot_be_is_refused(options: dict[str, object]) -> None:
    config: type[Config] = apn.APNConfig
    with pytest.raises(UsageError, match=next(iter(options))):
        config.parse(options, where="run.toml")
