"""STD's cluster distance: the reference against loops, the products of matrices against the float64 reference."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from vadfast_kernels import ops
from vadfast_kernels.cluster_distance import torch_impl
from vadfast_kernels.cluster_distance.op import _backward, _forward
from vadfast_kernels.cluster_distance.reference import cluster_distance as reference

from tests.ops.inputs import DTYPES, cluster_inputs
from tests.ops.tolerances import (
    assert_as_good_as_eager,
    assert_gradients_as_good_as_eager,
    values_and_gradients,
)

# B, N, C, K: one of everything, primes, more centres than channels, STD's own channels and centres.
SHAPES = ((1, 1, 1, 1), (2, 7, 5, 3), (3, 2, 3, 11), (1, 13, 512, 32))
SMALL = (2, 7, 5, 3)


def _with_gradients(function: Callable[..., Tensor], inputs: list[Tensor]) -> list[Tensor]:
    values, gradients = values_and_gradients(function, inputs)
    return [*values, *gradients]


def _assert_as_good(inputs: list[Tensor], **options: Any) -> None:
    def fused(*x: Tensor) -> Tensor:
        return ops.cluster_distance(*x, **options)

    def eager(*x: Tensor) -> Tensor:
        return reference(*x, **options)

    exact = eager(*(x.double() for x in inputs))
    assert_as_good_as_eager(fused(*inputs), eager(*inputs), exact, what="D")
    assert_gradients_as_good_as_eager(fused, eager, inputs, ("r", "centres"))


def _by_loops(r: Tensor, centres: Tensor, alpha: float) -> Tensor:
    out = torch.zeros(r.shape[:2], dtype=torch.float64)
    for b, row in enumerate(r.tolist()):
        for n, position in enumerate(row):
            d = [math.dist(position, centre) for centre in centres.tolist()]
            weights = [math.exp(-alpha * (x - min(d))) for x in d]
            out[b, n] = sum(w * x for w, x in zip(weights, d, strict=True)) / sum(weights)
    return out


@pytest.mark.parametrize("alpha", [0.5, 25.0, 1e4])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_reference_is_the_formula(shape: tuple[int, ...], alpha: float) -> None:
    inputs = cluster_inputs(shape, torch.float64)
    torch.testing.assert_close(
        reference(*inputs, alpha=alpha), _by_loops(*inputs, alpha), rtol=1e-12, atol=0
    )


@pytest.mark.parametrize("function", [reference, ops.cluster_distance], ids=["reference", "op"])
def test_in_float64_the_gradient_is_that_of_differences(function: Callable[..., Tensor]) -> None:
    inputs = [x.requires_grad_() for x in cluster_inputs(SMALL, torch.float64)]
    assert torch.autograd.gradcheck(lambda *x: function(*x, alpha=2.0), inputs)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values_and_gradients(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    _assert_as_good(cluster_inputs(shape, dtype))


@pytest.mark.parametrize("distance", [1e-1, 1e-3, 1e-6])
def test_close_to_a_centre_nothing_cancels(distance: float) -> None:
    _, centres = cluster_inputs((1, 1, 512, 32))
    noise = cluster_inputs((1, 32, 512, 1), seed=1)[0]
    _assert_as_good([centres + distance * noise, centres])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_on_a_centre_the_distance_and_its_gradient_are_zero(dtype: torch.dtype) -> None:
    _, centres = cluster_inputs((1, 1, 5, 3), dtype)
    r = centres.unsqueeze(0)
    out, dr, dcentres = _with_gradients(
        lambda *x: ops.cluster_distance(*x, alpha=1e4), [r, centres]
    )
    assert not out.any()
    assert not dr.any()
    assert not dcentres.any()
    _assert_as_good([r, centres], alpha=1.0)


def test_equally_near_centres_share_their_weight() -> None:
    r = torch.zeros(1, 1, 2)
    centres = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0]])
    out, dr, dcentres = _with_gradients(ops.cluster_distance, [r, centres])
    assert float(out) == 1.0
    wanted = _with_gradients(reference, [r, centres])
    torch.testing.assert_close([dr, dcentres], wanted[1:])


@given(
    st.integers(1, 4), st.integers(1, 9), st.integers(1, 9), st.integers(1, 6),
    st.floats(0.1, 100.0), st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=30, deadline=None)
def test_it_is_a_mean_of_distances_that_moves_with_both(
    b: int, n: int, c: int, k: int, alpha: float, seed: int
) -> None:
    r, centres = cluster_inputs((b, n, c, k), torch.float64, seed)
    d = torch.cdist(r, centres)
    out = ops.cluster_distance(r, centres, alpha=alpha)
    assert (out >= d.amin(dim=-1) - 1e-9).all()
    assert (out <= d.mean(dim=-1) + 1e-9).all()  # near centres weigh more than far ones
    order = torch.randperm(k, generator=torch.Generator().manual_seed(seed))
    others = ops.cluster_distance(r + 0.5, centres[order] + 0.5, alpha=alpha)
    torch.testing.assert_close(others, out, rtol=1e-9, atol=1e-9)


def test_views_of_a_map_and_slices() -> None:
    r, centres = cluster_inputs((2, 6, 5, 3))
    wanted = _with_gradients(ops.cluster_distance, [r, centres])
    as_map = r.mT.contiguous().view(2, 5, 2, 3)  # [B, C, H, W]
    sliced = torch.randn(2, 12, 10)[:, ::2, 1::2].copy_(r)
    for other in (as_map.flatten(2).mT, sliced):
        out, dr, dcentres = _with_gradients(ops.cluster_distance, [other, centres.T.contiguous().T])
        torch.testing.assert_close([out, dr, dcentres], wanted)
        assert dr.stride() == torch.empty_like(other).stride()


@pytest.mark.parametrize("n_positions", [1, 4, 7, 15])
def test_large_maps_go_in_parts(n_positions: int, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = cluster_inputs((3, 7, 5, 4))
    whole = _with_gradients(ops.cluster_distance, inputs)
    monkeypatch.setattr(torch_impl, "_PART_BYTES", {"cpu": n_positions * 5 * 4})
    torch.testing.assert_close(_with_gradients(ops.cluster_distance, inputs), whole)


def test_each_tensor_has_its_own_dtype_and_autocast_changes_nothing() -> None:
    r, centres = cluster_inputs(SMALL)
    mixed = [r.bfloat16(), centres]
    out, dr, dcentres = _with_gradients(ops.cluster_distance, mixed)
    exact = _with_gradients(reference, [x.double() for x in mixed])
    torch.testing.assert_close(out.double(), exact[0], rtol=1e-6, atol=0)
    assert (out.dtype, dr.dtype, dcentres.dtype) == (torch.float32, torch.bfloat16, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(ops.cluster_distance(*mixed), out)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_at_its_position(value: float) -> None:
    r, centres = cluster_inputs(SMALL)
    wanted = ops.cluster_distance(r, centres)
    wanted[1, 2] = float("nan")
    r[1, 2, 3] = value
    torch.testing.assert_close(ops.cluster_distance(r, centres), wanted, equal_nan=True)
    torch.testing.assert_close(reference(r, centres), wanted, equal_nan=True)
    centres[0, 0] = float("nan")
    assert ops.cluster_distance(r, centres).isnan().all()


def test_two_calls_agree_in_every_bit_and_inputs_stay_as_they_are() -> None:
    inputs = cluster_inputs((2, 13, 37, 5))
    before = [x.clone() for x in inputs]
    first, second = (_with_gradients(ops.cluster_distance, inputs) for _ in range(2))
    assert all(torch.equal(x, y) for x, y in zip(first, second, strict=True))
    assert all(torch.equal(x, y) for x, y in zip(inputs, before, strict=True))


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("strided", [False, True])
def test_opcheck(strided: bool, trained: bool) -> None:
    r, centres = cluster_inputs(SMALL)
    r = (r.mT.contiguous().mT if strided else r).requires_grad_(trained)
    torch.library.opcheck(_forward, (r, centres, 25.0, "torch"))
    out, d, nearest = _forward(r.detach(), centres, 25.0, "torch")
    torch.library.opcheck(_backward, (r.detach(), centres, d, nearest, out, 25.0, "torch"))


def test_compiles_into_one_graph_and_exports() -> None:
    class Loss(torch.nn.Module):
        def forward(self, r: Tensor, centres: Tensor) -> Tensor:
            return 2 * ops.cluster_distance(r.tanh(), centres, alpha=3.0)

    inputs, layer = cluster_inputs(SMALL), Loss()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(_with_gradients(compiled, inputs), _with_gradients(layer, inputs))
    exported = torch.export.export(layer, tuple(inputs)).module()
    torch.testing.assert_close(exported(*inputs), layer(*inputs))


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda r, c: (r[0], c), ValueError, r"r must be \[B, N, C\] and not empty, got \[7, 5\]"),
        (lambda r, c: (r[:, :0], c), ValueError, r"not empty, got \[2, 0, 5\]"),
        (lambda r, c: (r, c[0]), ValueError, r"centres must be \[K, 5\] as r is, .* got \[5\]"),
        (lambda r, c: (r, c[:, :4]), ValueError, r"centres must be \[K, 5\] .* got \[3, 4\]"),
        (lambda r, c: (r, c[:0]), ValueError, r"not empty, got \[0, 5\]"),
        (lambda r, c: (r.int(), c), TypeError, r"r must be float32, .* got torch.int32"),
        (lambda r, c: (r, c.int()), TypeError, r"centres must be float32, .* got torch.int32"),
        (lambda r, c: (r, c.to("meta")), TypeError, "centres must be on cpu like r, got one on meta"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(
    change: Callable[..., tuple[Tensor, ...]], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        ops.cluster_distance(*change(*cluster_inputs(SMALL)))


@pytest.mark.parametrize("alpha", [0.0, -1.0, math.inf, math.nan])
def test_alpha_is_positive_and_finite(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha must be positive and finite, got"):
        ops.cluster_distance(*cluster_inputs(SMALL), alpha=alpha)


def test_a_named_backend_runs_or_raises() -> None:
    with pytest.raises(ValueError, match="backend must be one of auto, torch, got 'triton'"):
        ops.cluster_distance(*cluster_inputs(SMALL), backend="triton")
    (verdict,) = ops.explain(
        "cluster_distance", *ops.sample("cluster_distance", torch.device("cpu"), torch.float32)
    )
    assert (verdict.backend, verdict.chosen) == ("torch", True)


def test_there_is_no_second_derivative() -> None:
    r, centres = cluster_inputs(SMALL)
    out = ops.cluster_distance(r.requires_grad_(), centres)
    (gradient,) = torch.autograd.grad(out.sum(), r, create_graph=True)
    with pytest.raises(RuntimeError, match="no autograd formula was registered"):
        gradient.sum().backward()
