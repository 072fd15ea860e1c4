"""APN's prototype attention: every backend against the float64 reference, and the reference against loops that share nothing with it."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from vadfast_kernels import BackendError, ops
from vadfast_kernels.prototype_attention import torch_impl, tuned
from vadfast_kernels.prototype_attention.op import _forward
from vadfast_kernels.prototype_attention.reference import prototype_attention as reference

from tests.ops.inputs import DTYPES, near_prototype_inputs, prototype_inputs
from tests.ops.tolerances import (
    assert_as_good_as_eager,
    assert_gradients_as_good_as_eager,
    gradients,
)

BACKENDS = ("torch", "triton")
# B, N, C, M: two positions; one prototype; several tiles, the last one short; more prototypes than the smallest tile.
SHAPES = ((1, 2, 4, 2), (2, 7, 5, 1), (1, 33, 20, 6), (1, 18, 17, 17))
RESULTS = ("y", "p", "compactness", "diversity")


def _by_loops(
    z: Tensor, weight: Tensor
) -> tuple[list[Tensor], list[list[Tensor]], list[list[float]], list[float]]:
    ys, ps, compact, diverse = [], [], [], []
    for image in z:
        prototypes = []
        for row in weight:
            weights = [math.exp(float(position @ row)) for position in image]
            u = sum(w / sum(weights) * position for w, position in zip(weights, image, strict=True))
            prototypes.append(u / math.sqrt(float(u @ u)))
        y, distances = torch.zeros_like(image), []
        for n, position in enumerate(image):
            scores = [float(position @ p) for p in prototypes]
            total = sum(math.exp(s) for s in scores)
            r = sum(math.exp(s) / total * p for s, p in zip(scores, prototypes, strict=True))
            y[n] = r / math.sqrt(float(r @ r)) + position
            nearest = prototypes[scores.index(max(scores))]
            distances.append(float((position - nearest) @ (position - nearest)))
        pairs = [(p, q) for i, p in enumerate(prototypes) for q in prototypes[i + 1 :]]
        hinges = [max(0.0, 1 - float((p - q) @ (p - q))) for p, q in pairs]
        ys.append(y)
        ps.append(prototypes)
        compact.append(distances)
        diverse.append(sum(hinges) / len(pairs) if pairs else 0.0)
    return ys, ps, compact, diverse


@pytest.mark.parametrize("shape", [*SHAPES[:2], (2, 6, 3, 4)])
def test_the_reference_is_the_formula(shape: tuple[int, ...]) -> None:
    z, weight = prototype_inputs(shape, torch.float64)
    found, wanted = reference(z, weight), _by_loops(z, weight)
    close = {"rtol": 1e-12, "atol": 1e-12}
    torch.testing.assert_close(found[0], torch.stack(wanted[0]), **close)
    torch.testing.assert_close(found[1], torch.stack([torch.stack(p) for p in wanted[1]]), **close)
    torch.testing.assert_close(found[2], torch.tensor(wanted[2], dtype=torch.float64), **close)
    torch.testing.assert_close(found[3], torch.tensor(wanted[3], dtype=torch.float64), **close)


@pytest.mark.parametrize(
    "function", [reference, ops.prototype_attention], ids=["reference", "torch"]
)
def test_the_gradient_is_that_of_differences(function: Callable[..., tuple[Tensor, ...]]) -> None:
    inputs = [x.requires_grad_() for x in prototype_inputs((1, 3, 3, 2), torch.float64)]
    assert torch.autograd.gradcheck(lambda *x: tuple(function(*x)), inputs)


def _assert_good(inputs: list[Tensor], backend: str) -> None:
    exact = [x.double() for x in inputs]

    def fused(z: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
        return ops.prototype_attention(z, weight, backend=backend)

    found, wanted, true = fused(*inputs), reference(*inputs), reference(*exact)
    for name, mine, eager, truth in zip(RESULTS, found, wanted, true, strict=True):
        assert mine.dtype == (inputs[0].dtype if name == "y" else torch.float32)
        assert_as_good_as_eager(mine, eager.to(mine.dtype), truth, what=name)
    assert_gradients_as_good_as_eager(fused, reference, inputs, ("z", "weight"))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values_and_gradients(shape: tuple[int, ...], dtype: torch.dtype, backend: str) -> None:
    _assert_good(prototype_inputs(shape, dtype), backend)


def _on_their_prototypes(shape: tuple[int, ...], dtype: torch.dtype) -> list[Tensor]:
    inputs = near_prototype_inputs(shape, dtype, noise=0.05, sharpness=16)
    assert reference(*(x.double() for x in inputs))[2].max().sqrt() < 0.1
    return inputs


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(1, 33, 20, 6), (1, 60, 17, 17)], ids=str)
def test_digits_where_positions_lie_on_their_prototypes(
    shape: tuple[int, ...], dtype: torch.dtype, backend: str
) -> None:
    _assert_good(_on_their_prototypes(shape, dtype), backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_several_tiles_a_program_and_several_chunks(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuned, "MAX_SPLITS", 2)
    monkeypatch.setattr(torch_impl, "_CHUNK_BYTES", 4096)
    _assert_good(prototype_inputs((1, 40, 20, 6)), backend)


def _only(
    result: str, function: Callable[..., tuple[Tensor, ...]], **options: Any
) -> Callable[..., tuple[Tensor, ...]]:
    return lambda *x: (function(*x, **options)[RESULTS.index(result)],)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("result", RESULTS)
def test_each_result_has_its_own_gradient(result: str, backend: str) -> None:
    inputs = prototype_inputs((1, 12, 6, 4))
    found = gradients(_only(result, ops.prototype_attention, backend=backend), inputs)
    wanted = gradients(_only(result, reference), inputs)
    for mine, eager in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, eager, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("result", RESULTS[:3])
def test_each_gradient_keeps_its_digits_there(result: str, backend: str) -> None:
    inputs = _on_their_prototypes((1, 33, 20, 6), torch.float32)
    fused = _only(result, ops.prototype_attention, backend=backend)
    assert_gradients_as_good_as_eager(fused, _only(result, reference), inputs, ("z", "weight"))


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_position_is_every_prototype(backend: str) -> None:
    z, weight = (x.requires_grad_() for x in prototype_inputs((1, 1, 4, 3)))
    found = ops.prototype_attention(z, weight, backend=backend)
    torch.testing.assert_close(found.y, 2 * z)
    torch.testing.assert_close(found.p, z.expand(1, 3, 4))
    torch.testing.assert_close(found.compactness, torch.zeros(1, 1))
    torch.testing.assert_close(found.diversity, torch.ones(1))
    (dweight,) = torch.autograd.grad(found.y[..., 0].sum(), weight)
    torch.testing.assert_close(dweight, torch.zeros(3, 4))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_large_scores_do_not_overflow(dtype: torch.dtype, backend: str) -> None:
    z, weight = prototype_inputs((1, 20, 8, 5), dtype)
    z, weight = z * 20, weight * 30  # scores of 1000: exp of float32 ends at 88
    assert (z.double() @ weight.double().T).abs().max() > 1000
    leaves = [x.requires_grad_() for x in (z, weight)]
    found = ops.prototype_attention(*leaves, backend=backend)
    truth = reference(z.double(), weight.double())
    tolerance = 2e-5 if dtype == torch.float32 else 1e-2
    for mine, exact in zip(found, truth, strict=True):
        torch.testing.assert_close(mine.double(), exact, rtol=tolerance, atol=tolerance * 10)
    for gradient in torch.autograd.grad([x.sum() for x in found], leaves):
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_image_of_zeros_stays_one(backend: str) -> None:
    weight = prototype_inputs((1, 1, 6, 4))[1]
    y, p, compactness, diversity = ops.prototype_attention(
        torch.zeros(1, 9, 6), weight, backend=backend
    )
    assert not any(x.any() for x in (y, p, compactness))
    assert diversity.item() == 1  # prototypes that do not differ


@pytest.mark.parametrize("backend", BACKENDS)
def test_any_strides(backend: str) -> None:
    image = F.normalize(torch.randn(2, 6, 2, 3) + 0.5, dim=1)  # [B, C, H, W]
    weight = torch.randn(8, 6)[::2]

    def call(z: Tensor, weight: Tensor) -> list[Tensor]:
        def fused(z: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
            return ops.prototype_attention(z, weight, backend=backend)

        return [*fused(z, weight), *gradients(fused, [z, weight])]

    wanted = call(image.flatten(2).mT.contiguous(), weight.contiguous())
    last = image.to(memory_format=torch.channels_last).permute(0, 2, 3, 1).flatten(1, 2)
    wide = torch.cat([last, last], dim=-1)[..., :6]
    for z in (image.flatten(2).mT, last, wide):
        found = call(z, weight)
        for mine, exact in zip(found, wanted, strict=True):
            torch.testing.assert_close(mine, exact)
        assert found[0].is_contiguous()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_nan_reaches_its_image_and_no_other(backend: str) -> None:
    z, weight = prototype_inputs((2, 20, 6, 4))
    z[1, 3, 2] = float("nan")
    for result in ops.prototype_attention(z, weight, backend=backend)[:3]:
        assert not torch.isfinite(result[1]).any()
        assert torch.isfinite(result[0]).all()


def test_nothing_is_larger_than_z() -> None:
    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            nonlocal largest
            made = function(*args, **(kwargs or {}))
            if isinstance(made, Tensor):
                largest = max(largest, made.numel())
            return made

    z, weight = prototype_inputs((2, 500, 16, 10))
    with Watch():
        y, p, compactness, lse, length = torch_impl.forward(z, weight)
        torch_impl.backward(z, weight, p, lse, length, y, p, compactness)
    assert largest <= z.numel()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("strided", [False, True])
def test_opcheck(backend: str, strided: bool) -> None:
    z, weight = prototype_inputs((2, 9, 6, 4))
    if strided:
        z, weight = z.mT.contiguous().mT, weight.T.contiguous().T
    torch.library.opcheck(_forward, (z.requires_grad_(), weight.requires_grad_(), backend))


@pytest.mark.parametrize("backend", BACKENDS)
def test_compiles_into_one_graph_and_exports(backend: str) -> None:
    class Layer(torch.nn.Module):
        def forward(self, z: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
            found = ops.prototype_attention(z, weight, backend=backend)
            return found.y * 2, found.p, found.compactness.mean(), found.diversity

    inputs, layer = prototype_inputs((2, 9, 6, 4)), Layer()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*inputs), layer(*inputs))
    torch.testing.assert_close(gradients(compiled, inputs), gradients(layer, inputs))
    exported = torch.export.export(layer, tuple(inputs)).module()
    torch.testing.assert_close(exported(*inputs), layer(*inputs))


def test_autocast_casts_to_its_dtype() -> None:
    z, weight = prototype_inputs((2, 9, 6, 4))
    for backend in BACKENDS:
        wanted = ops.prototype_attention(z.bfloat16(), weight.bfloat16(), backend=backend)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = ops.prototype_attention(z, weight.bfloat16(), backend=backend)
        for mine, exact in zip(found, wanted, strict=True):
            torch.testing.assert_close(mine, exact, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda z, w: (z[0], w), ValueError, r"z must be \[B, N, C\] and not empty, got \[9, 6\]"),
        (lambda z, w: (z[:, :0], w), ValueError, r"not empty, got \[2, 0, 6\]"),
        (lambda z, w: (z.int(), w.int()), TypeError, "z must be float32, float16"),
        (lambda z, w: (z, w.half()), TypeError, "weight must be torch.float32 on cpu like z"),
        (lambda z, w: (z, w[:, :5]), ValueError, r"weight must be \[M, 6\] as z is, got \[4, 5\]"),
        (lambda z, w: (z, w[:0]), ValueError, r"weight must be \[M, 6\] as z is, got \[0, 6\]"),
    ],
)
def test_what_does_not_fit_is_named(
    change: Callable[..., tuple[Tensor, ...]], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        ops.prototype_attention(*change(*prototype_inputs((2, 9, 6, 4))))


def test_a_named_backend_runs_or_raises() -> None:
    with pytest.raises(BackendError, match="'triton' takes at most 256 channels, got 300"):
        ops.prototype_attention(*prototype_inputs((1, 2, 300, 4)), backend="triton")
    with pytest.raises(BackendError, match="'triton' takes at most 32 prototypes, got 33"):
        ops.prototype_attention(*prototype_inputs((1, 2, 3, 33)), backend="triton")
    with pytest.raises(ValueError, match="backend must be one of auto, triton, torch, got 'cuda'"):
        ops.prototype_attention(*prototype_inputs((1, 2, 3, 4)), backend="cuda")


def test_there_is_no_second_derivative() -> None:
    z, weight = (x.requires_grad_() for x in prototype_inputs((1, 9, 6, 4)))
    (dz,) = torch.autograd.grad(ops.prototype_attention(z, weight).y.sum(), z, create_graph=True)
    with pytest.raises(RuntimeError):
        torch.autograd.grad(dz.sum(), z)
