"""What fuse does to a model, and undoes: the state never changes, copies keep to themselves, refusals come before anything changes."""

import copy
import io

import pytest
import torch
from torch import Tensor, nn

import vadfast
from tests.fusion.layers import CrissCrossAttention, image
from vadfast.errors import BackendError
from vadfast.fusion import fuse, unfuse
from vadfast.layers import CrissCross, PrototypeUnit


def _model() -> nn.Sequential:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 16, 3, padding=1), CrissCross(16), nn.ReLU(), CrissCrossAttention(16))
    nn.init.constant_(layers[1].gamma, 0.5)  # type: ignore[arg-type]
    return nn.Sequential(*layers)


def _value(model: nn.Sequential) -> Tensor:
    weight: Tensor = model[1].value.weight  # type: ignore[assignment, union-attr]
    return weight


def test_unfuse_is_exact_and_the_state_never_changes() -> None:
    model, x = _model(), image()
    before, wanted = copy.deepcopy(model.state_dict()), model(x)
    attributes = [dict.fromkeys(vars(m)) for m in model.modules()]
    parameters = [id(p) for p in model.parameters()]
    for mode in ("train", "infer", "infer"):
        fuse(model, mode)  # type: ignore[arg-type]
        with torch.no_grad():
            model(x)
        assert model.state_dict().keys() == before.keys()
        assert all(torch.equal(model.state_dict()[k], v) for k, v in before.items())
        assert [id(p) for p in model.parameters()] == parameters
    assert unfuse(model) == 2
    assert torch.equal(model(x), wanted)
    assert type(model[1]) is CrissCross
    assert [dict.fromkeys(vars(m)) for m in model.modules()] == attributes
    assert unfuse(model) == 0


def test_a_fused_layer_is_still_one_of_its_kind_and_says_that_it_is_fused() -> None:
    model = _model()
    fuse(model)
    assert isinstance(model[1], CrissCross)
    assert "(1): FusedCrissCross(" in repr(model)
    assert "(3): FusedCrissCrossAttention(" in repr(model)


@pytest.mark.parametrize("mode", ["train", "infer"])
def test_copies_and_pickles_run_on_their_own_weights(mode: str) -> None:
    model, x = _model(), image()
    fuse(model, mode)  # type: ignore[arg-type]
    with torch.no_grad():
        wanted = model(x)
        file = io.BytesIO()
        torch.save(model, file)
        file.seek(0)
        twins = [copy.deepcopy(model), torch.load(file, weights_only=False)]
        for p in model.parameters():
            p.zero_()
        for twin in twins:
            assert torch.equal(twin(x), wanted)
            assert unfuse(twin) == 2
        assert not model(x).any()


def test_hooks_of_a_fused_layer_still_run() -> None:
    model = _model()
    seen: list[int] = []
    model[1].register_forward_hook(lambda *_: seen.append(1))
    fuse(model)
    model(image())
    assert seen == [1]


# ------------------------------------------------------------------------------------------------ infer


def test_weights_that_change_after_fusing_count() -> None:
    model, plain, x = _model(), _model(), image()
    other = _model()
    nn.init.normal_(_value(other))
    fuse(model, "infer")

    def replace(m: nn.Sequential) -> None:
        m[1].value = nn.Conv2d(16, 16, 1)
        nn.init.constant_(_value(m), 0.1)
        nn.init.zeros_(m[1].value.bias)  # type: ignore[arg-type, union-attr]

    def step(m: nn.Sequential) -> None:
        optimiser = torch.optim.SGD(m.parameters(), 0.1)
        for p in m.parameters():
            p.grad = torch.ones_like(p)
        optimiser.step()

    changes = (
        lambda m: m.load_state_dict(other.state_dict()),
        lambda m: m.load_state_dict(copy.deepcopy(_model().state_dict()), assign=True),
        lambda m: nn.init.ones_(m[1].gamma),
        step,
        lambda m: m.to(torch.bfloat16).float(),
        replace,
    )
    with torch.no_grad():
        for change in changes:
            for m in (model, plain):
                m(x)
                change(m)
            torch.testing.assert_close(model(x), plain(x), rtol=1e-5, atol=1e-5)
        assert model.double()(x.double()).dtype == torch.float64


def test_weights_are_kept_while_none_changes() -> None:
    layer = CrissCross(8)
    fuse(layer, "infer")
    with torch.no_grad():
        layer(torch.zeros(1, 8, 2, 2))
        kept = vars(layer)["_vadfast_kept"]
        layer(torch.zeros(1, 8, 2, 2))
        assert vars(layer)["_vadfast_kept"] is kept
        nn.init.ones_(layer.gamma)
        layer(torch.zeros(1, 8, 2, 2))
        assert vars(layer)["_vadfast_kept"] is not kept


@torch.no_grad()
def test_a_weight_that_is_computed_at_every_use_is_never_kept() -> None:
    model, plain, x = _model(), _model(), image()
    for m in (model, plain):
        torch.nn.utils.parametrizations.weight_norm(m[1].value)  # type: ignore[arg-type]
    fuse(model, "infer")
    for _ in range(2):
        torch.testing.assert_close(model(x), plain(x), rtol=1e-5, atol=1e-5)
        for m in (model, plain):
            m[1].value.parametrizations.weight.original0.mul_(2)  # type: ignore[union-attr]


def test_a_layer_fused_for_inference_refuses_to_be_trained() -> None:
    model = _model()
    fuse(model, "infer")
    with pytest.raises(BackendError, match=r"must run without gradient.*torch.no_grad\(\)"):
        model(image())
    fuse(model, "train")
    model(image()).sum().backward()
    assert _value(model).grad is not None


# ------------------------------------------------------------------------------------------------ refusals and the report


@pytest.mark.parametrize(
    ("part", "module", "words"),
    [
        ("query_conv", nn.Conv2d(16, 2, 3, padding=1), "query_conv must be a 1x1 convolution"),
        ("value_conv", nn.Conv2d(16, 16, 1, padding=1), "value_conv must be a 1x1 convolution"),
        ("key_conv", nn.Linear(16, 2), "key_conv must be a Conv2d, got Linear"),
        ("key_conv", nn.Conv2d(16, 4, 1), "key_conv must be like query_conv"),
        ("key_conv", nn.Conv2d(16, 2, 1, bias=False), "key_conv must be like query_conv"),
        ("value_conv", nn.Conv2d(16, 8, 1), "value_conv must keep the 16 channels"),
        ("gamma", nn.Parameter(torch.ones(16)), "gamma must be one number"),
    ],
)
def test_a_layer_of_another_form_is_refused_before_anything_changes(
    part: str, module: nn.Module | nn.Parameter, words: str
) -> None:
    model = _model()
    setattr(model[3], part, module)
    with pytest.raises(BackendError, match=rf"3 \({words}"):
        fuse(model)
    assert unfuse(model) == 0
    report = fuse(model, strict=False)
    assert report.n_fused == 1
    assert "1 of 2 layers fused" in str(report)
    assert f"stays plain: {words}" in str(report)


def test_hooks_that_would_be_lost_are_a_reason_to_refuse() -> None:
    model = _model()
    model[1].value.register_forward_hook(lambda *_: None)  # type: ignore[union-attr]
    with pytest.raises(BackendError, match="value must be without hooks"):
        fuse(model)


def test_a_backend_that_cannot_run_where_the_layer_is() -> None:
    model = _model().double()
    with pytest.raises(BackendError, match=r"triton computes in float32.*got torch.float64"):
        fuse(model, backend="triton")
    assert unfuse(model) == 0
    assert fuse(model, backend="triton", strict=False).n_fused == 0
    with pytest.raises(ValueError, match="one of auto, triton, native, torch for criss"):
        fuse(model, backend="cuda")
    with pytest.raises(ValueError, match="mode must be train or infer, got 'eval'"):
        fuse(model, "eval")  # type: ignore[arg-type]


def test_the_report_says_what_runs_and_why_nothing_faster() -> None:
    model = nn.Sequential(CrissCross(16), PrototypeUnit(16)).double()
    lines = str(fuse(model, "infer")).splitlines()
    reason = "triton computes in float32, float16 and bfloat16, got torch.float64"
    assert lines == [
        "2 of 2 layers fused for inference",
        f"  0  CrissCross  runs criss_cross_attention on torch, weights folded once; {reason}; "
        "native computes in float32, got torch.float64",
        f"  1  PrototypeUnit  runs prototype_attention on torch; {reason}",
    ]
    assert "runs prototype_attention on triton" in str(fuse(model.float()[1], backend="triton"))


def test_a_model_without_known_layers() -> None:
    assert str(fuse(nn.Linear(2, 2))) == "no layer of this model has a fast operator"


def test_it_is_found_under_the_products_name() -> None:
    assert vadfast.fuse is fuse
    assert vadfast.unfuse is unfuse
