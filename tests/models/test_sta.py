"""STA against its specification: sizes, scores, losses, and the fused network against the plain one."""

import numpy as np
import pytest
import torch

from vadfast.config import Config
from vadfast.errors import UsageError
from vadfast.fusion import fuse
from vadfast.models import sta

SMALL = sta.STAConfig(n_features=16, n_segments=6, hidden=4)


def _bags(n: int = 3, config: sta.STAConfig = SMALL) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand((n, config.n_segments, config.n_features), generator=generator)


def _network(config: sta.STAConfig = SMALL) -> sta.Network:
    torch.manual_seed(0)
    return sta.Network(config).eval()


def _n_parameters(**options: object) -> int:
    with torch.device("meta"):
        network = sta.Network(sta.STAConfig.model_validate(options))
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(("width", "head"), [(1024, 164_481), (2048, 295_553), (4096, 557_697)])
def test_the_specified_sizes(width: int, head: int) -> None:
    assert _n_parameters(n_features=width, criss_cross=False) == head
    assert _n_parameters(n_features=width) == head + 40


def test_sultanis_head() -> None:
    sizes = 4096 * 512 + 512 + 512 * 32 + 32 + 32 + 1
    assert _n_parameters(n_features=4096, head="fc", criss_cross=False) == sizes


@pytest.mark.parametrize("options", [{}, *sta.ABLATIONS.values()], ids=["full", *sta.ABLATIONS])
def test_each_segment_has_a_probability(options: dict[str, object]) -> None:
    scored = _network(SMALL.model_copy(update=options))(_bags())
    assert scored.scores.shape == (3, 6)
    assert ((scored.scores > 0) & (scored.scores < 1)).all()
    assert scored.features.shape == (3, 6, 16)


def test_the_length_of_a_segment_does_not_count() -> None:
    # Sultani scales each to length 1; a segment of zeros stays one.
    network, bags = _network(), _bags()
    lengths = torch.rand(3, 6, 1) + 0.5
    torch.testing.assert_close(network(bags * lengths).scores, network(bags).scores)
    bags[:, 2] = 0
    assert network(bags).scores.isfinite().all()


def test_a_score_sees_the_whole_bag_and_no_other() -> None:
    for options in ({}, {"head": "fc"}):
        network = _network(SMALL.model_copy(update=options))
        bags = _bags().requires_grad_()
        (gradient,) = torch.autograd.grad(network(bags).scores[1, 0], bags)
        assert gradient[1].abs().amax(dim=1).gt(0).all()  # two passes of criss-cross reach all
        assert not gradient[[0, 2]].any()


@pytest.mark.parametrize("unit_length", [True, False])
def test_the_length_of_a_segment_counts_where_it_is_kept(unit_length: bool) -> None:
    network, bags = _network(SMALL.model_copy(update={"unit_length": unit_length})), _bags()
    with torch.no_grad():
        same = torch.allclose(network(bags).scores, network(3 * bags).scores, atol=1e-6)
    assert same is unit_length


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_the_fused_network_gives_the_same_scores_and_gradients(scale: float) -> None:
    config = SMALL.model_copy(update={"scale": scale})
    plain, fused, exact = _network(config), _network(config), _network(config).double()
    report = fuse(fused)
    assert [(x.kind, bool(x.runs)) for x in report.layers] == [("STAAttention", True)]
    results = []
    for network in (exact, plain, fused):
        bags = _bags().to(next(network.parameters()).dtype)
        scored = network(bags)
        scored.scores.square().sum().backward()
        gradients = [p.grad for p in network.parameters()]
        results.append([t.double() for t in (*scored, *gradients) if t is not None])
    # flash-attention's rule: no further from float64 than twice what eager float32 is; three times for gradients.
    for truth, eager, ours in zip(*results, strict=True):
        bound = 3 * (eager - truth).abs().max() + 1e-5 * truth.abs().max().clamp_min(1e-3)
        assert (ours - truth).abs().max() <= bound


def test_the_ranking_is_the_mean_over_all_pairs() -> None:
    rng = np.random.default_rng(0)
    normal, abnormal = rng.random((3, 6)), rng.random((5, 6))
    pairs = [max(0, 1 - a.max() + n.max()) for n in normal for a in abnormal]
    found = sta.ranking_loss(torch.from_numpy(normal), torch.from_numpy(abnormal))
    assert float(found) == pytest.approx(np.mean(pairs))


def test_smoothness_and_sparsity_are_sums_within_a_film() -> None:
    scores = torch.tensor([[0.0, 0.5, 0.5], [1.0, 1.0, 0.0]])
    assert float(sta.smoothness_loss(scores)) == pytest.approx(
        (0.25 + 1.0) / 2
    )  # no step between films
    assert float(sta.sparsity_loss(scores)) == pytest.approx((1.0 + 2.0) / 2)


def _scored(bags: torch.Tensor) -> sta.Scored:
    return sta.Scored(torch.full(bags.shape[:2], 0.5), bags)


def test_the_total_is_the_weighted_sum() -> None:
    normal, abnormal = _scored(_bags(2)), _scored(_bags(3))
    total, parts, active = sta.losses(normal, abnormal, SMALL)
    wanted = (
        parts["ranking"]
        + 2e-4 * parts["smoothness"]
        + 4e-5 * parts["sparsity"]
        + 0.02 * parts["mce"]
    )
    torch.testing.assert_close(total, wanted)
    assert active is not None
    off = sta.losses(normal, abnormal, SMALL.model_copy(update={"mce": "off"}))
    assert off.active is None
    assert "mce" not in off.parts


def test_the_margin_is_dead_on_features_of_one_cone_and_alive_when_centred() -> None:
    # The trap of non-negative features: cosines of about 0.8, all above 0.4.
    normal, abnormal = _scored(_bags(2) + 0.5), _scored(_bags(2) + 0.5)
    bags = abnormal.features.requires_grad_()
    for centred, is_alive in ((False, False), (True, True)):
        config = SMALL.model_copy(update={"centred": centred, "mce_weight": 1.0})
        found = sta.losses(normal, sta.Scored(abnormal.scores, bags), config)
        assert found.active is not None
        assert (float(found.active) > 0) == is_alive
        (gradient,) = torch.autograd.grad(found.parts["mce"], bags)
        assert bool(gradient.any()) == is_alive


def test_the_ablations_are_the_papers_rows() -> None:
    assert set(sta.ABLATIONS) == {"no-mce", "fc", "fc-no-mce", "no-criss-cross"}
    for options in sta.ABLATIONS.values():
        assert sta.STAConfig.model_validate(options) != sta.STAConfig()


@pytest.mark.parametrize(
    "options", [{"head": "lstm"}, {"margin": 2}, {"n_segments": 1}, {"mces": 1}]
)
def test_a_configuration_that_cannot_be_is_refused(options: dict[str, object]) -> None:
    config: type[Config] = sta.STAConfig
    with pytest.raises(UsageError, match=next(iter(options))):
        config.parse(options, where="run.toml")
