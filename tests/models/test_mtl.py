"""MTL against its specification: sizes, where attention acts, what a branch may see, and the score.

Its exported file is checked in tests/train/test_mtl.py, with a bundle of real windows: exporting two deep networks takes seconds.
"""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vadfast.errors import UsageError
from vadfast.fusion import fuse
from vadfast.layers import SCSE
from vadfast.models import mtl
from vadfast.models.imagenet import load_weights
from vadfast.models.resnet34_unet import ResNet34UNet
from vadfast.models.vgg16_unet import VGG16UNet

SMALL = mtl.MTLConfig(image_size=32, width=16)


def _network(**options: object) -> mtl.Network:
    torch.manual_seed(0)
    network = mtl.Network(SMALL.model_copy(update=options)).eval()
    for module in (
        network.modules()
    ):  # statistics of a trained network, so that layers are not near to linear
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)  # type: ignore[union-attr]
            module.running_var.uniform_(0.3, 1.5)  # type: ignore[union-attr]
    return network


def _windows(n: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    windows = torch.randint(0, 256, (n, 5, 32, 32, 3), dtype=torch.uint8, generator=generator)
    inside = torch.randint(0, 2, (n, 32, 32), dtype=torch.uint8, generator=generator)
    windows[:, 4, ..., 0] = inside
    windows[:, 4, ..., 2] = 255 * inside
    return windows


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_the_published_sizes() -> None:
    """methods.md section 0: 24.45 M and 8.0 (8.7) GMAC; 23.75 M and 24.7 GMAC, counted with VGG-16 without normalisation."""
    with torch.device("meta"), torch.no_grad():
        one, many = (ResNet34UNet(6, n).eval() for n in (1, 81))
        motion = VGG16UNet(scse=False, attention="none").eval()
        whole = VGG16UNet().eval()
        image, context = torch.zeros(1, 3, 256, 256), torch.zeros(1, 3, 256, 256)
        macs = []
        for call in (lambda: one(torch.cat([image] * 2, 1)), lambda: many(torch.cat([image] * 2, 1)),
                     lambda: motion(image, context)):  # fmt: skip
            with FlopCounterMode(display=False) as counted:
                assert call().shape[2:] == (256, 256)
            macs.append(counted.get_total_flops() / 2e9)
    assert _count(one) == 24_445_777
    assert macs == pytest.approx([8.0, 8.7, 24.7], abs=0.06)
    normalised = sum(_count(m) for m in motion.features if isinstance(m, nn.BatchNorm2d))
    assert _count(motion) == 23_756_689
    assert _count(motion) - normalised == 23_748_241  # 23.75 M
    scse = sum(_count(m) for m in whole.scse.values())
    # Section 0's 23.99 M are those of SCSE in the decoder, 0.24 M; the paper has it in the middle of the encoder.
    assert scse == sum(c // 16 * 2 * c + c // 16 + c + c + 1 for c in (256, 512)) == 42_546
    assert whole.context is not None
    assert _count(whole) == 23_756_689 + scse + _count(whole.context) == 23_818_788


def test_scse_is_its_formula() -> None:
    layer, x = SCSE(32).double(), torch.randn(2, 32, 3, 5, dtype=torch.float64)
    w1, w2, w = layer.channel[1], layer.channel[3], layer.position[0]
    hidden = (x.mean(dim=(2, 3)) @ w1.weight.flatten(1).T + w1.bias).relu()
    channel = torch.sigmoid(hidden @ w2.weight.flatten(1).T + w2.bias)[:, :, None, None]
    position = torch.sigmoid(torch.einsum("bchw,c->bhw", x, w.weight.flatten()) + w.bias)[:, None]
    torch.testing.assert_close(layer(x), x * channel + x * position)
    assert w1.weight.shape == (2, 32, 1, 1)


@pytest.mark.parametrize("position", ["skip", "encoder", "decoder", "final"])
def test_attention_acts_where_it_is_told_to(position: str) -> None:
    """Ones everywhere double the features of that place, and the network without attention does the rest."""
    frame, context = torch.randn(1, 3, 32, 32), torch.rand(1, 3, 32, 32)
    torch.manual_seed(0)
    network = VGG16UNet(width=4, attention=position).eval()  # type: ignore[arg-type]
    plain = VGG16UNet(width=4, attention="none").eval()
    plain.load_state_dict(network.state_dict(), strict=False)
    assert network.context is not None
    with torch.no_grad():
        network.context.layers[1].weight.zero_()
        network.context.layers[1].bias.fill_(-1e4)  # a = 0 everywhere
        torch.testing.assert_close(network(frame, context), plain(frame, context))
        network.context.layers[1].bias.fill_(1e4)  # a = 1 everywhere
        found = network(frame, context)
        doubled: list[object] = []
        if position == "final":
            wanted = 2 * (plain(frame, context) - plain.head.bias.view(1, 1, 1, 1))
            torch.testing.assert_close(found, wanted + plain.head.bias.view(1, 1, 1, 1))
            return
        if position == "decoder":
            for step in plain.decoder.steps:
                doubled.append(step.register_forward_hook(lambda *a: 2 * a[2]))
            torch.testing.assert_close(found, plain(frame, context))
            return
        assert (found - plain(frame, context)).abs().max() > 1e-4


def test_attention_reaches_each_step_at_its_own_size() -> None:
    network = VGG16UNet(width=4).eval()
    frame = torch.randn(1, 3, 32, 32)
    left = torch.zeros(1, 3, 32, 32)
    left[..., :16] = 1
    assert not torch.equal(network(frame, left), network(frame, left.flip(3)))


def test_each_branch_sees_what_it_may() -> None:
    network, windows = _network(), _windows()

    def students(changed: int | None, channel: int | None = None) -> dict[str, Tensor]:
        seen = windows.clone()
        if changed is not None:
            part = seen[:, changed] if channel is None else seen[:, changed, ..., channel]
            part += 77
        with torch.no_grad():
            return {name: pair.student for name, pair in network(seen).items()}

    plain = students(None)
    for changed, channel, appearance, motion in (
        (0, None, True, False),  # frames t-2 and t-1 predict the map of t
        (1, None, True, False),
        (2, None, False, True),  # the movement is guessed from frame t,
        (3, 0, False, False),  # not from how fast the teacher saw it move,
        (3, 1, False, True),  # but from where it moves to
        (4, 1, False, True),  # and the depth
        (4, 2, False, False),
    ):
        found = students(changed, channel)
        assert torch.equal(found["appearance"], plain["appearance"]) is not appearance, changed
        assert torch.equal(found["motion"], plain["motion"]) is not motion, (changed, channel)
    now = _network(future=False)
    with torch.no_grad():
        before = now(windows)["appearance"].student
        windows[:, 0] += 77
        assert torch.equal(now(windows)["appearance"].student, before)
        windows[:, 2] += 77
        assert not torch.equal(now(windows)["appearance"].student, before)


def test_the_scores_are_errors_in_deviations_of_training() -> None:
    network, windows = _network(), _windows()
    network.movement_scale.fill_(3.0)
    network.error_mean.copy_(torch.tensor([0.5, 1.5]))
    network.error_std.copy_(torch.tensor([0.1, 0.2]))
    with torch.inference_mode():
        components, heatmap = mtl.Scorer(network)(windows)
        pairs = network(windows)
    index, red = windows[:, 4, ..., 0].double(), windows[:, 3, ..., 0].double()
    onehot = torch.stack([index == 0, index == 1], dim=1).double()
    movement = 64 * (red / 255).square() / 3 * index
    a = (pairs["appearance"].student.double() - onehot).abs()
    m = (pairs["motion"].student.double() - movement[:, None]).abs()
    wanted = torch.stack(
        [(a.mean(dim=(1, 2, 3)) - 0.5) / 0.1, (m.mean(dim=(1, 2, 3)) - 1.5) / 0.2], 1
    )
    torch.testing.assert_close(components.double(), wanted, rtol=1e-5, atol=1e-5)
    cells = [e.mean(dim=1).unfold(1, 8, 8).unfold(2, 8, 8).mean(dim=(3, 4)) for e in (a, m)]
    larger = torch.maximum(cells[0] / 0.5, cells[1] / 1.5)
    torch.testing.assert_close(heatmap.double(), larger, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("branches", ["appearance", "motion"])
def test_a_branch_can_stand_alone(branches: str) -> None:
    network = _network(branches=branches)
    said = mtl.meaning(network.config)
    assert [c.name for c in said.components] == [branches]
    assert list(said.paper_chain.weights) == list(said.causal_chain.weights) == [branches]
    with torch.inference_mode():
        components, heatmap = mtl.Scorer(network)(_windows())
        both = mtl.Scorer(_network())(_windows())[0]
    assert components.shape == (2, 1)
    assert heatmap.shape == (2, 4, 4)
    assert both.shape == (2, 2)


def test_fuse_leaves_the_scores_as_they_are() -> None:
    plain, fused = mtl.Scorer(_network()), mtl.Scorer(_network())
    assert fuse(fused, "infer").layers == ()  # none of its layers has an operator; its loss has one
    with torch.inference_mode():
        for found, wanted in zip(fused(_windows()), plain(_windows()), strict=True):
            assert torch.equal(found, wanted)


def test_imagenet_weights_fit_and_see_two_equal_frames_as_one(tmp_path: Path) -> None:
    torch.manual_seed(0)
    three, six = ResNet34UNet(3, 1, width=4).eval(), ResNet34UNet(6, 1, width=4).eval()
    stored = {k: v.clone() for k, v in three.encoder.state_dict().items()}
    path = str(tmp_path / "r.safetensors")
    save_file(stored | {"fc.weight": torch.zeros(2, 2)}, path)
    load_weights(six.encoder, path, key="appearance_weights", source="resnet34")
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        found, wanted = six.encoder(torch.cat([x, x], dim=1)), three.encoder(x)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    torch.save(stored, tmp_path / "r.pth")  # as torchvision's site has it
    again = ResNet34UNet(6, 1, width=4).encoder
    load_weights(again, str(tmp_path / "r.pth"), key="appearance_weights", source="resnet34")
    for name, value in six.encoder.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
    for other, words in ((str(tmp_path / "no"), "no such file"), (path, "must hold the weights")):
        wide = ResNet34UNet(6, 1, width=8).encoder
        with pytest.raises(
            UsageError, match=f"appearance_weights: .*{words}.*leave appearance_weights"
        ):
            load_weights(wide, other, key="appearance_weights", source="resnet34")


def test_the_encoders_have_torchvisions_names() -> None:
    with torch.device("meta"):
        resnet, vgg = ResNet34UNet(3, 1).encoder.state_dict(), VGG16UNet().features.state_dict()
    assert resnet["layer3.5.bn2.running_var"].shape == (256,)
    assert resnet["layer4.0.downsample.1.weight"].shape == (512,)
    assert len(resnet) == 216  # torchvision's resnet34 has 218, two of them its classifier's
    assert vgg["40.weight"].shape == (512, 512, 3, 3)
    assert vgg["41.running_mean"].shape == (512,)


@pytest.mark.parametrize(
    "options",
    [{"image_size": 48}, {"width": 6}, {"attention": "head"}, {"segmentation": "yolo"}, {"brnches": 1}],
)  # fmt: skip
def test_a_configuration_that_cannot_be_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        mtl.MTLConfig.parse(options, where="run.toml")


def test_every_row_of_the_tables_is_a_model() -> None:
    with torch.device("meta"):
        for row in mtl.ABLATIONS.values():
            mtl.Network(mtl.MTLConfig.parse(dict(row), where="ablation"))
