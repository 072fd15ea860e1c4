"""ADL against its paper: sizes, attention map, losses and score, each against a second formulation."""

import numpy as np
import pytest
import torch
from vadfast_kernels.attention_map.rank_pooling import rank_pooling_weights

from vadfast.models import adl
from vadfast.models.flow import load_flow, lucas_kanade
from vadfast.models.prediction import signed_clip
from vadfast.models.unet import UNet

SMALL = adl.ADLConfig(image_size=32, width=4)


def _count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_the_networks_have_the_published_sizes() -> None:
    full = adl.ADLConfig()
    assert _count(adl.Generator(full)) == 7_704_195
    assert _count(UNet(12, norm="batch")) == 7_707_011
    assert _count(adl.Discriminator(full)) == 6_831_489


def test_the_discriminator_judges_35_by_35_patches() -> None:
    judged = adl.Discriminator(adl.ADLConfig(width=2))(torch.zeros(1, 3, 256, 256))
    assert judged.shape == (1, 1, 35, 35)


@pytest.mark.parametrize("n_frames", [2, 4, 5, 8, 16])
def test_rank_pooling_weights_equal_the_sum_over_pairs(n_frames: int) -> None:
    # V_t is the mean of the first t frames; M = sum over t1 > t2 of (V_t1 - V_t2) (paper eq. 2-5).
    means = np.tril(np.ones((n_frames, n_frames))) / np.arange(1, n_frames + 1)[:, None]
    pooled = sum(means[i] - means[j] for i in range(n_frames) for j in range(i))
    np.testing.assert_allclose(rank_pooling_weights(n_frames).numpy(), pooled, atol=1e-12)


def test_the_map_ignores_affine_changes_of_intensity() -> None:
    frames = torch.rand(2, 5, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    torch.testing.assert_close(
        adl.attention_map(frames), adl.attention_map(0.6 * frames + 0.2), atol=1e-5, rtol=1e-4
    )
    a = adl.attention_map(frames)
    assert a.min() >= 0.1
    assert a.max() <= 1.1 + 1e-6


def test_noise_of_a_static_clip_gets_little_weight() -> None:
    noise = torch.randn(1, 5, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 0.001
    # M's deviation is 0.001 |alpha| = 0.0042 and eps is 0.074: 4.5 deviations give 0.26 above the background.
    # Without the guard the largest weight would be near 0.6 however weak the noise.
    assert adl.attention_map(noise).max() < 0.1 + 0.26
    assert adl.attention_map(noise / 10).max() < 0.1 + 0.026


def test_a_light_switched_on_gets_no_more_weight_than_a_person() -> None:
    frames = torch.zeros(1, 5, 3, 16, 16)
    frames[:, 1:] = 0.5  # M is 1.85 everywhere, its range 0
    assert adl.attention_map(frames).max() <= 1.1 + 1e-6


def test_losses_equal_loops_over_pixels() -> None:
    rng = np.random.default_rng(0)
    p, y, a = (rng.normal(size=(2, 3, 4, 5)) for _ in range(3))
    a = np.abs(a)
    content = gradient = 0.0
    for b, c, i, j in np.ndindex(p.shape):
        content += (a[b, c, i, j] * (p[b, c, i, j] - y[b, c, i, j])) ** 2 / p.size
        for di, dj in ((1, 0), (0, 1)):
            if i + di < 4 and j + dj < 5:
                dp = abs(p[b, c, i + di, j + dj] - p[b, c, i, j])
                dy = abs(y[b, c, i + di, j + dj] - y[b, c, i, j])
                gradient += a[b, c, i, j] * abs(dp - dy) / p.size
    tp, ty, ta = (torch.from_numpy(x) for x in (p, y, a))
    assert adl.content_loss(tp, ty, ta).item() == pytest.approx(content, rel=1e-12)
    assert adl.gradient_loss(tp, ty, ta).item() == pytest.approx(gradient, rel=1e-6)
    edge = adl.gradient_loss(tp, ty, ta, edge="tf").item()
    last_column = (a * np.abs(np.abs(p) - np.abs(y)))[..., -1].sum() / p.size
    last_row = (a * np.abs(np.abs(p) - np.abs(y)))[..., -1, :].sum() / p.size
    assert edge == pytest.approx(gradient + last_column + last_row, rel=1e-6)


def test_the_score_is_one_psnr_per_frame() -> None:
    torch.manual_seed(0)
    scorer = adl.Scorer(adl.Generator(SMALL)).eval()
    rng = np.random.default_rng(0)
    frames = torch.from_numpy(rng.integers(0, 255, (3, 5, 32, 32, 3), np.uint8))
    with torch.inference_mode():
        components, heatmap = scorer(frames)
        predicted = adl.predict(scorer.generator, signed_clip(frames))
    assert components.shape == (3, 1)
    assert heatmap.shape == (3, 4, 4)
    truth = frames[:, -1].permute(0, 3, 1, 2).double() / 255
    mse = ((predicted.double() + 1) / 2 - truth).square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(
        components[:, 0].double(), 10 * torch.log10(1 / mse), atol=1e-4, rtol=0
    )
    torch.testing.assert_close(heatmap.mean(dim=(1, 2)).double(), mse, atol=1e-7, rtol=1e-5)


def test_a_perfect_prediction_is_clamped_at_100_db() -> None:
    class Last(torch.nn.Module):
        n_inputs = 4

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[:, -3:]

    scorer = adl.Scorer(Last())  # type: ignore[arg-type]
    components, _ = scorer(torch.full((1, 5, 8, 8, 3), 77, dtype=torch.uint8))
    assert components.item() == pytest.approx(100.0, abs=1e-3)


def test_flow_finds_a_shift_and_has_a_gradient_to_the_prediction() -> None:
    y, x = torch.meshgrid(torch.arange(48.0), torch.arange(48.0), indexing="ij")

    def scene(dx: float, dy: float) -> torch.Tensor:
        return (torch.sin((x - dx) / 4) + torch.cos((y - dy) / 5)).expand(1, 3, 48, 48) / 2

    b = scene(1.5, -0.75).clone().requires_grad_()
    flow = lucas_kanade(scene(0, 0), b)
    inner = flow[0, :, 12:-12, 12:-12].detach().mean(dim=(1, 2))
    torch.testing.assert_close(inner, torch.tensor([1.5, -0.75]), atol=0.15, rtol=0)
    flow.abs().mean().backward()  # type: ignore[no-untyped-call]
    assert b.grad is not None
    assert b.grad.abs().sum() > 0


def test_a_flow_is_named_or_refused() -> None:
    from vadfast.errors import UsageError

    assert load_flow("none") is None
    assert load_flow("vadfast.models.flow:lucas_kanade") is lucas_kanade
    for bad in ("raft", "no.such:thing", "vadfast.models.flow:absent"):
        with pytest.raises(UsageError, match="--flow"):
            load_flow(bad)


def test_the_gradient_loss_cannot_tell_a_picture_from_its_negative() -> None:
    """Why training begins with the content loss alone (gradient_warmup)."""
    target = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    attention = torch.ones_like(target)
    assert adl.gradient_loss(-target, target, attention).item() == 0
    assert adl.content_loss(-target, target, attention).item() > 1
