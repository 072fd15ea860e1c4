"""fuse: the same numbers, the same parameters, and back again."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import vadfast
from vadfast.errors import BackendError
from vadfast.fusion import fuse, unfuse
from vadfast.layers import CrissCross


class CrissCrossAttention(nn.Module):
    """CCNet's names, one pass."""

    def __init__(self, channels: int, kernel: int = 1) -> None:
        super().__init__()
        self.query_conv = nn.Conv2d(channels, 2, kernel, padding="same")
        self.key_conv = nn.Conv2d(channels, 2, 1)
        self.value_conv = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.tensor([0.7]))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.query_conv(x), self.key_conv(x), self.value_conv(x)
        h, w = x.shape[2:]
        scores = torch.einsum("bdij,bdmn->bijmn", q, k)
        i, j = torch.arange(h)[:, None], torch.arange(w)[None]
        cross = (i[:, :, None, None] == i) | (j[:, :, None, None] == j)
        a = scores.masked_fill(~cross, float("-inf")).flatten(3).softmax(-1).view_as(scores)
        return self.gamma * torch.einsum("bijmn,bcmn->bcij", a, v) + x


def _model(affinity: str = "dot") -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        CrissCross(16, affinity=affinity),
        nn.ReLU(),
        CrissCrossAttention(16),
    )
    nn.init.constant_(model[1].gamma, 0.5)
    return model


@pytest.mark.parametrize("affinity", ["dot", "cosine"])
@pytest.mark.parametrize("backend", ["auto", "triton"])
def test_the_same_numbers_and_gradients(affinity: str, backend: str) -> None:
    plain, fused = _model(affinity), _model(affinity)
    report = fuse(fused, backend=backend)
    assert report.n_fused == 2
    x = torch.randn(2, 3, 7, 5)
    torch.testing.assert_close(fused(x), plain(x), rtol=1e-5, atol=1e-5)
    for model in (plain, fused):
        model(x).square().mean().backward()
    for ours, theirs in zip(fused.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-5)


def test_unfuse_is_exact_and_the_state_never_changes() -> None:
    model = _model()
    before, x = copy.deepcopy(model.state_dict()), torch.randn(1, 3, 6, 4)
    wanted = model(x)
    fuse(model)
    fuse(model)
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(model.state_dict()[k], v) for k, v in before.items())
    assert unfuse(model) == 2
    assert torch.equal(model(x), wanted)
    assert "forward" not in vars(model[1])
    assert unfuse(model) == 0


def test_weights_loaded_after_fusing_count() -> None:
    model, other = _model(), _model()
    nn.init.normal_(other[1].value.weight)
    fuse(model)
    model.load_state_dict(other.state_dict())
    x = torch.randn(1, 3, 6, 4)
    torch.testing.assert_close(model(x), other(x), rtol=1e-5, atol=1e-5)


def test_a_layer_of_another_form_is_refused_before_anything_changes() -> None:
    model = _model()
    model[3] = CrissCrossAttention(16, kernel=3)
    with pytest.raises(BackendError, match=r"3 \(query_conv must be a 1x1 convolution"):
        fuse(model)
    assert "forward" not in vars(model[1])
    report = fuse(model, strict=False)
    assert report.n_fused == 1
    assert "1 of 2 layers fused" in str(report)
    assert "stays plain: query_conv must be a 1x1" in str(report)


def test_a_model_without_known_layers() -> None:
    assert str(fuse(nn.Linear(2, 2))) == "no layer of this model has a fast operator"


def test_it_is_found_under_the_products_name() -> None:
    assert vadfast.fuse is fuse
    assert vadfast.unfuse is unfuse


def test_a_fused_model_compiles_into_one_graph() -> None:
    model = _model()
    fuse(model)
    x = torch.randn(1, 3, 6, 4)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), model(x))


@pytest.mark.parametrize("autocast", [False, True])
def test_twenty_steps_fused_and_plain_learn_the_same(autocast: bool) -> None:
    plain, fused = _model(), _model()
    fuse(fused)
    losses = []
    for model in (plain, fused):
        generator = torch.Generator().manual_seed(1)
        optimiser = torch.optim.Adam(model.parameters(), 1e-3)
        for _ in range(20):
            x = torch.randn(2, 3, 8, 6, generator=generator)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
                loss = F.mse_loss(
                    model(x).float(), x.mean(dim=1, keepdim=True).expand(-1, 16, -1, -1)
                )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        losses.append(loss.item())
    assert losses[1] == pytest.approx(losses[0], rel=3e-2 if autocast else 1e-4)
    if not autocast:
        for ours, theirs in zip(fused.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
