"""STD against its paper and the released network: sizes, products, codes, the score, and the exported file."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from tests.models.exported import assert_engines_agree
from vadfast.compile.backends import mnn
from vadfast.errors import BackendError, UsageError
from vadfast.fusion import fuse
from vadfast.layers import VarianceAttention
from vadfast.models import std
from vadfast.runtime.engines.mnn import MNNEngine
from vadfast.runtime.manifest import InputSpec

SMALL = std.STDConfig(image_size=128, neck=4, n_clusters=5)


def _network(config: std.STDConfig = SMALL) -> std.Network:
    torch.manual_seed(0)
    network = std.Network(config).eval()
    if network.clusters is not None:
        network.found.fill_(1)  # else their distance would not count
    return network


def _frames(batch: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (batch, std.N_FRAMES, 128, 128, 3)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def test_the_published_sizes() -> None:
    with torch.device("meta"):
        network = std.Network(std.STDConfig()).eval()
        with FlopCounterMode(display=False) as counted:
            first, difference, distance = network(torch.zeros(1, 12, 256, 256))
        _, z_a = network.appearance(torch.zeros(1, 3, 256, 256))
        _, z_m = network.motion(torch.zeros(1, 12, 256, 256))
    assert sum(p.numel() for p in network.parameters()) == 6_119_456
    assert sum(p.numel() for p in network.appearance.parameters()) == 3_394_528
    assert sum(p.numel() for p in network.motion.parameters()) == 2_708_544
    assert network.clusters.centres.shape == (32, 512)
    assert counted.get_total_flops() / 2e9 == pytest.approx(30.3, abs=0.05)
    assert first.shape == difference.shape == (1, 3, 256, 256)
    assert z_a.shape == z_m.shape == (1, 256, 32, 32)
    assert distance.shape == (1, 32, 32)


@pytest.mark.parametrize(("size", "wanted"), [(256, [8, 4, 2]), (128, [4, 2, 1])])
def test_variance_attention_has_16_by_16_cells_at_every_level(size: int, wanted: list[int]) -> None:
    network = std.Network(std.STDConfig(image_size=size, neck=4))
    cells = [m.cell for m in network.modules() if isinstance(m, VarianceAttention)]
    assert cells == wanted


def test_the_papers_variance_attention_is_of_every_position() -> None:
    network = std.Network(std.STDConfig(image_size=256, neck=2, variance="paper"))
    assert [m.cell for m in network.modules() if isinstance(m, VarianceAttention)] == [1, 1, 1]
    features = torch.rand(1, 4, 128, 128)
    gains = network.motion.encoder[0][1](features) / features
    assert len(gains.unique()) > 200  # 16 x 16 cells would have 256 gains, each of 64 positions
    assert float((gains[..., 0, 0] - gains[..., 0, 1]).abs().max().detach()) > 0


def test_before_there_are_centres_the_error_is_not_weighed() -> None:
    network, frames = _network(), _frames()
    early = std.Network(SMALL).eval()
    early.load_state_dict(network.state_dict() | {"found": torch.zeros(())})
    with torch.inference_mode():
        predicted, target = network(_clip(frames)).compared(frames.permute(0, 1, 4, 2, 3) / 255)
        heatmap = std.Scorer(early)(frames)[1]
        weighed = std.Scorer(network)(frames)[1]
    plain = F.avg_pool2d((predicted - target).square().mean(dim=1), 8)
    torch.testing.assert_close(heatmap, plain, rtol=1e-5, atol=0)
    assert not torch.allclose(weighed, plain, rtol=1e-2)


def test_a_state_without_a_note_of_its_centres_has_them() -> None:
    network = _network()
    state = {name: value for name, value in network.state_dict().items() if name != "found"}
    old = std.Network(SMALL)
    old.load_state_dict(state)
    assert float(old.found) == 1
    assert "found" not in state


def _clip(frames: torch.Tensor) -> torch.Tensor:
    return (frames.permute(0, 1, 4, 2, 3) / 255)[:, :4].flatten(1, 2)


def test_codes_have_absolute_sum_1_and_appearance_sees_the_first_frame_alone() -> None:
    network, frames = _network(), torch.rand(1, 12, 128, 128)
    other = torch.cat([frames[:, :3], torch.rand(1, 9, 128, 128)], dim=1)
    with torch.inference_mode():
        _, z_a = network.appearance(frames[:, :3])
        _, z_m = network.motion(frames)
        a, b = network(frames), network(other)
    for z in (z_a, z_m):
        torch.testing.assert_close(z.abs().sum(dim=1), torch.ones(1, 16, 16))
    assert torch.equal(a.first, b.first)
    assert not torch.allclose(a.difference, b.difference)


def test_every_parameter_learns() -> None:
    network = _network().train()
    first, difference, distance = network(torch.rand(2, 12, 128, 128))
    (first.square().mean() + difference.square().mean() + distance.mean()).backward()
    still = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not still


@pytest.mark.parametrize("variance", ["code", "paper"])
def test_the_score_is_the_error_weighed_by_the_distance_at_every_pixel(variance: str) -> None:
    network = _network(SMALL.model_copy(update={"variance": variance}))
    frames = _frames()
    with torch.inference_mode():
        components, heatmap = std.Scorer(network)(frames)
        network.double()
        clip = frames.double().permute(0, 1, 4, 2, 3) / 255
        first, difference, _ = network(clip[:, :4].flatten(1, 2))
        codes = [network.appearance(clip[:, 0])[1], network.motion(clip[:, :4].flatten(1, 2))[1]]
        r = torch.cat(codes, dim=1)
        r = r / r.norm(dim=1, keepdim=True)
        d = (r[:, None] - network.clusters.centres[:, :, None, None]).norm(dim=2)  # [B, K, h, w]
        weight = torch.exp(-25 * d)
        distance = (weight * d).sum(dim=1) / weight.sum(dim=1)
    error = (first + difference - clip[:, 4]).square().mean(dim=1)  # [B, H, W]
    upsampled = F.interpolate(distance[:, None], scale_factor=8, mode="nearest")[:, 0]
    loss = (error * upsampled).mean(dim=(1, 2))
    assert components.shape == (2, 1)
    assert heatmap.shape == (2, 16, 16)
    score = 10 ** (components[:, 0].double() / 10)  # eq. 13
    torch.testing.assert_close(score, 1 / loss, rtol=1e-4, atol=0)
    torch.testing.assert_close(heatmap.double().mean(dim=(1, 2)), loss, rtol=1e-4, atol=0)


@pytest.mark.parametrize("stream", ["appearance", "motion"])
def test_a_stream_alone_is_judged_by_what_it_makes(stream: str, tmp_path: Path) -> None:
    network = _network(
        std.STDConfig.model_validate({"image_size": 128, "neck": 4, **std.ABLATIONS[stream]})
    )
    frames = _frames()
    clip = frames.float().permute(0, 1, 4, 2, 3) / 255
    with torch.inference_mode():
        components, heatmap = std.Scorer(network)(frames)
        if stream == "appearance":
            error = network.appearance(clip[:, 0])[0] - clip[:, 0]
        else:
            error = clip[:, 0] + network.motion(clip[:, :4].flatten(1, 2))[0] - clip[:, 4]
    mse = error.square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(components[:, 0], -10 * mse.log10(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(heatmap.mean(dim=(1, 2)), mse, rtol=1e-4, atol=0)
    spec = InputSpec(n_frames=std.N_FRAMES, height=128, width=128)
    assert_engines_agree(std.Scorer(network), spec, std.COMPONENTS, tmp_path / "model.onnx")


def test_the_exported_file_gives_the_same_scores(tmp_path: Path) -> None:
    spec = InputSpec(n_frames=std.N_FRAMES, height=128, width=128)
    scorer = std.Scorer(_network())
    assert_engines_agree(scorer, spec, std.COMPONENTS, tmp_path / "model.onnx")
    # MNN leaves out the lengths of the codes; that it says nothing must not mean that we do not.
    mnn.convert(tmp_path / "model.onnx", tmp_path / "model.mnn")
    with pytest.raises(
        BackendError, match=r"mnn misreads .*model.mnn: .* must begin with a batch of 1"
    ):
        MNNEngine.load(tmp_path / "model.mnn", precision="fp32", batch=1)


def test_its_attention_and_its_clusters_have_fast_operators() -> None:
    plain, fused = std.Scorer(_network()), std.Scorer(_network())
    report = fuse(fused, "infer")
    assert sorted(x.kind for x in report.layers) == ["ClusterDistance"] + ["VarianceAttention"] * 3
    assert report.n_fused == 4
    with torch.inference_mode():
        for found, wanted in zip(fused(_frames()), plain(_frames()), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("options", [{"image_size": 96}, {"neck": 3}, {"variance": "mean"}])
def test_a_configuration_that_cannot_be_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        std.STDConfig.parse(options, where="run.toml")
