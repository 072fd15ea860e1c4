"""STA's mutual cosine embedding: the reference against loops, the products of matrices against the float64 reference."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from vadfast_kernels import ops
from vadfast_kernels.mutual_cosine_embedding.op import PAIRS, _backward, _forward
from vadfast_kernels.mutual_cosine_embedding.reference import mutual_cosine_embedding as reference

from tests.ops.inputs import DTYPES, bag_inputs
from tests.ops.tolerances import (
    assert_as_good_as_eager,
    assert_gradients_as_good_as_eager,
    values_and_gradients,
)

# B, N, C: one pair of numbers, primes, more segments than features, a bag of I3D features.
SHAPES = ((1, 2, 1), (2, 7, 5), (3, 11, 3), (2, 32, 1024))
OPTIONS = tuple(
    {"pairs": pairs, "centred": centred} for pairs in PAIRS for centred in (False, True)
)
SMALL = (2, 7, 5)


def _loss(*bags: Tensor, **options: Any) -> Tensor:
    return ops.mutual_cosine_embedding(*bags, **options).loss


def _with_gradients(function: Callable[..., Tensor], inputs: list[Tensor]) -> list[Tensor]:
    values, gradients = values_and_gradients(function, inputs)
    return [*values, *gradients]


def _by_loops(normal: Tensor, abnormal: Tensor, margin: float, pairs: str, centred: bool) -> float:
    def cosines(bags: Tensor) -> list[float]:
        found = []
        for bag in bags.tolist():
            mean = [sum(values) / len(bag) if centred else 0.0 for values in zip(*bag, strict=True)]
            bag = [[x - m for x, m in zip(f, mean, strict=True)] for f in bag]
            for x, y in itertools.combinations(bag, 2):
                dot = sum(a * b for a, b in zip(x, y, strict=True))
                found.append(dot / (math.hypot(*x) * math.hypot(*y)))
        return found

    alike, unlike = cosines(normal), cosines(abnormal)
    kept = [min(c, margin) if pairs == "min" else max(0.0, c - margin) for c in unlike]
    return 1 - sum(alike) / len(alike) + sum(kept) / len(kept)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("shape", SHAPES[:3], ids=str)
def test_the_reference_is_the_formula(shape: tuple[int, ...], options: dict[str, Any]) -> None:
    inputs = bag_inputs(shape, torch.float64)
    found = reference(*inputs, margin=0.3, **options)
    assert float(found) == pytest.approx(_by_loops(*inputs, 0.3, **options), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("function", [reference, _loss], ids=["reference", "op"])
def test_in_float64_the_gradient_is_that_of_differences(
    function: Callable[..., Tensor], options: dict[str, Any]
) -> None:
    inputs = [x.requires_grad_() for x in bag_inputs((2, 4, 3), torch.float64)]
    assert torch.autograd.gradcheck(lambda *x: function(*x, **options), inputs)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
def test_values_and_gradients(
    shape: tuple[int, ...], dtype: torch.dtype, options: dict[str, Any]
) -> None:
    inputs = bag_inputs(shape, dtype)

    def fused(*x: Tensor) -> Tensor:
        return _loss(*x, **options)

    def eager(*x: Tensor) -> Tensor:
        return reference(*x, **options)

    exact = eager(*(x.double() for x in inputs))
    assert_as_good_as_eager(fused(*inputs), eager(*inputs), exact, what="loss")
    assert_gradients_as_good_as_eager(fused, eager, inputs, ("normal", "abnormal"))


def test_active_is_the_share_of_pairs_with_a_gradient() -> None:
    normal, abnormal = bag_inputs((3, 9, 4))
    for pairs in PAIRS:
        found = ops.mutual_cosine_embedding(normal, abnormal, pairs=pairs)
        u = torch.nn.functional.normalize(abnormal, dim=-1)
        i, j = torch.triu_indices(9, 9, offset=1)
        cosines = (u @ u.mT)[:, i, j]
        wanted = (cosines < 0.4 if pairs == "min" else cosines > 0.4).float().mean()
        assert 0 < float(wanted) < 1
        torch.testing.assert_close(found.active, wanted)
        assert not found.active.requires_grad


def test_features_in_one_cone_have_no_gradient_until_they_are_centred() -> None:
    normal, _ = bag_inputs((2, 8, 16))
    abnormal = (normal + 3).requires_grad_()
    plain, centred = (
        ops.mutual_cosine_embedding(normal, abnormal, centred=c) for c in (False, True)
    )
    assert float(plain.active) == 0
    assert not torch.autograd.grad(plain.loss, abnormal)[0].any()
    assert float(centred.active) > 0.5
    assert torch.autograd.grad(centred.loss, abnormal)[0].any()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("dtype", [*DTYPES, torch.float64], ids=str)
def test_zero_vectors_have_no_cosine_and_no_gradient(
    dtype: torch.dtype, options: dict[str, Any]
) -> None:
    inputs = bag_inputs(SMALL, dtype)
    for bags in inputs:
        bags[0, 2:4] = 0
        bags[1] = bags[1, :1]  # all the same: zero but for round-off, once centred
    loss, *gradients = _with_gradients(lambda *x: _loss(*x, **options), inputs)
    exact = reference(*(x.double() for x in inputs), **options)
    torch.testing.assert_close(loss.double(), exact, rtol=1e-5, atol=1e-5)
    for gradient in gradients:
        assert gradient.isfinite().all()
        if options["centred"]:
            assert not gradient[1].any()
        else:
            assert not gradient[0, 2:4].any()


@given(
    st.integers(1, 3), st.integers(2, 9), st.integers(1, 9), st.integers(0, 99),
    st.sampled_from(OPTIONS), st.floats(-1, 1),
)  # fmt: skip
@settings(max_examples=30, deadline=None)
def test_lengths_and_order_of_segments_do_not_matter(
    b: int, n: int, c: int, seed: int, options: dict[str, Any], margin: float
) -> None:
    normal, abnormal = bag_inputs((b, n, c), torch.float64, seed)
    loss = _loss(normal, abnormal, margin=margin, **options)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    scale = 7.0 if options["centred"] else torch.rand(b, n, 1, dtype=torch.float64) + 0.1
    others = _loss(scale * normal, scale * abnormal[:, order], margin=margin, **options)
    # A cosine of +-1 may fall on either side of a margin that it equals, by no more than round-off.
    torch.testing.assert_close(others, loss, rtol=1e-9, atol=1e-9)


def test_bags_differ_in_number_dtype_and_layout() -> None:
    normal, abnormal = bag_inputs((3, 7, 5))
    wanted = _loss(normal, abnormal[:2, :4].contiguous())
    wide = torch.randn(7, 5, 3).permute(2, 0, 1).copy_(normal)
    torch.testing.assert_close(_loss(wide, abnormal[:2, :4]), wanted)
    mixed = [normal.bfloat16(), abnormal]
    loss, dnormal, dabnormal = _with_gradients(_loss, mixed)
    exact = _with_gradients(reference, [x.double() for x in mixed])
    torch.testing.assert_close(loss.double(), exact[0], rtol=1e-6, atol=1e-6)
    assert (loss.dtype, dnormal.dtype, dabnormal.dtype) == (
        torch.float32, torch.bfloat16, torch.float32,
    )  # fmt: skip
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(_loss(*mixed), loss)


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_reaches_the_loss(value: float, centred: bool) -> None:
    for which in range(2):
        inputs = bag_inputs(SMALL)
        inputs[which][1, 2, 3] = value
        assert _loss(*inputs, centred=centred).isnan()
        assert reference(*inputs, centred=centred).isnan()


def test_two_calls_agree_in_every_bit_and_inputs_stay_as_they_are() -> None:
    inputs = bag_inputs((2, 13, 37))
    before = [x.clone() for x in inputs]
    first, second = (_with_gradients(_loss, inputs) for _ in range(2))
    assert all(torch.equal(x, y) for x, y in zip(first, second, strict=True))
    assert all(torch.equal(x, y) for x, y in zip(inputs, before, strict=True))


@pytest.mark.parametrize(("strided", "trained"), [(False, True), (True, False)])
def test_opcheck(strided: bool, trained: bool) -> None:
    _, f = bag_inputs(SMALL)
    f = (f.mT.contiguous().mT if strided else f).requires_grad_(trained)
    torch.library.opcheck(_forward, (f, torch.zeros(2), "torch"))
    cosines, inverse = _forward(f.detach(), torch.zeros(2), "torch")
    torch.library.opcheck(_backward, (f.detach(), cosines, inverse, cosines.clone(), "torch"))


@pytest.mark.parametrize("centred", [False, True])
def test_compiles_into_one_graph_and_exports(centred: bool) -> None:
    class Loss(torch.nn.Module):
        def forward(self, normal: Tensor, abnormal: Tensor) -> Tensor:
            return 2 * _loss(normal.tanh(), abnormal, centred=centred)

    inputs, layer = bag_inputs(SMALL), Loss()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(_with_gradients(compiled, inputs), _with_gradients(layer, inputs))
    exported = torch.export.export(layer, tuple(inputs)).module()
    torch.testing.assert_close(exported(*inputs), layer(*inputs))


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda n, a: (n[0], a), ValueError, r"normal must be \[B, N, C\] with N at least 2 .* got \[7, 5\]"),
        (lambda n, a: (n, a[:, :1]), ValueError, r"abnormal must be .* got \[2, 1, 5\]"),
        (lambda n, a: (n[:0], a), ValueError, r"not empty, got \[0, 7, 5\]"),
        (lambda n, a: (n.int(), a), TypeError, r"normal must be float32, .* got torch.int32"),
        (lambda n, a: (n, a.to("meta")), TypeError, "abnormal must be on cpu like normal, got one on meta"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(
    change: Callable[..., tuple[Tensor, ...]], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        ops.mutual_cosine_embedding(*change(*bag_inputs(SMALL)))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pairs": "max"}, "pairs must be one of min, hinge, got 'max'"),
        ({"margin": 1.5}, r"margin must be within \[-1, 1\] like a cosine, got 1.5"),
        ({"margin": math.nan}, "margin must be within .* got nan"),
        ({"backend": "triton"}, "backend must be one of auto, torch, got 'triton'"),
    ],
)
def test_options_are_checked(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ops.mutual_cosine_embedding(*bag_inputs(SMALL), **options)


def test_explain_has_its_backend() -> None:
    sample = ops.sample("mutual_cosine_embedding", torch.device("cpu"), torch.float32)
    (verdict,) = ops.explain("mutual_cosine_embedding", *sample)
    assert (verdict.backend, verdict.chosen) == ("torch", True)


def test_there_is_no_second_derivative() -> None:
    normal, abnormal = bag_inputs(SMALL)
    loss = _loss(normal.requires_grad_(), abnormal)
    (gradient,) = torch.autograd.grad(loss, normal, create_graph=True)
    with pytest.raises(RuntimeError, match="no autograd formula was registered"):
        gradient.sum().backward()
