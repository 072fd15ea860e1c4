"""Criss-cross attention: every backend against the float64 reference, and the reference against loops that share nothing with it."""

import math
from collections.abc import Callable
from functools import partial
from itertools import product

import pytest
import torch
from torch import Tensor
from vadfast_kernels import ops
from vadfast_kernels.criss_cross_attention import layout, torch_impl
from vadfast_kernels.criss_cross_attention.op import _forward
from vadfast_kernels.criss_cross_attention.reference import criss_cross_attention as reference

from tests.ops.inputs import DTYPES, criss_cross_inputs
from tests.ops.tolerances import (
    assert_as_good_as_eager,
    assert_gradients_as_good_as_eager,
)

BACKENDS = ("native", "torch", "triton")
# B, D, C, H, W: a row, a column, one position, primes, several tiles of either side, more channels than a tile holds.
SHAPES = (
    (1, 4, 8, 1, 9),
    (2, 3, 5, 9, 1),
    (1, 2, 3, 1, 1),
    (2, 5, 7, 11, 13),
    (1, 8, 16, 37, 34),
    (1, 20, 150, 5, 3),
)


def _by_loops(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    y = torch.zeros_like(v)
    b_, _, h, w = q.shape
    for b in range(b_):
        for i in range(h):
            for j in range(w):
                cross = [(i, n) for n in range(w)] + [(m, j) for m in range(h) if m != i]
                weights = [math.exp(float(q[b, :, i, j] @ k[b, :, m, n])) for m, n in cross]
                for (m, n), weight in zip(cross, weights, strict=True):
                    y[b, :, i, j] += v[b, :, m, n] * weight / sum(weights)
    return y


@pytest.mark.parametrize("shape", SHAPES[:4])
def test_the_reference_is_the_formula(shape: tuple[int, ...]) -> None:
    inputs = criss_cross_inputs(shape, torch.float64)
    torch.testing.assert_close(reference(*inputs), _by_loops(*inputs), rtol=1e-12, atol=1e-12)


def test_the_reference_has_the_gradient_of_its_differences() -> None:
    inputs = [x.requires_grad_() for x in criss_cross_inputs((1, 2, 3, 3, 4), torch.float64)]
    assert torch.autograd.gradcheck(reference, inputs)


@pytest.mark.parametrize(
    ("backend", "dtype"),
    # In C++ in float32 alone.
    [("native", torch.float32), *product(("torch", "triton"), DTYPES)],
    ids=str,
)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values_and_gradients(shape: tuple[int, ...], dtype: torch.dtype, backend: str) -> None:
    inputs = criss_cross_inputs(shape, dtype)
    exact = [x.double() for x in inputs]

    def fused(*x: Tensor) -> Tensor:
        return ops.criss_cross_attention(*x, backend=backend)

    y, eager, truth = fused(*inputs), reference(*inputs), reference(*exact)
    assert_as_good_as_eager(y, eager, truth, what="y")
    assert y.permute(0, 2, 3, 1).is_contiguous(), "the contract says channels last"
    assert_gradients_as_good_as_eager(fused, reference, inputs, "qkv")


@pytest.mark.parametrize("lines", [1, 3])
def test_chunks_of_lines_leave_no_seam(lines: int, monkeypatch: pytest.MonkeyPatch) -> None:
    b, _, c, _, w = shape = (2, 5, 7, 11, 13)
    inputs = criss_cross_inputs(shape)
    exact = [x.double() for x in inputs]
    monkeypatch.setattr(torch_impl, "_CHUNK_BYTES", lines * w * w * 4)
    monkeypatch.setattr(layout, "_PART_BYTES", lines * b * c * (w + 16) * 4)
    fused = partial(ops.criss_cross_attention, backend="torch")
    assert_as_good_as_eager(fused(*inputs), reference(*inputs), reference(*exact), what="y")
    assert_gradients_as_good_as_eager(fused, reference, inputs, "qkv")


@pytest.mark.parametrize("backend", BACKENDS)
def test_cosine(backend: str) -> None:
    q, k, v = criss_cross_inputs((1, 5, 6, 7, 9))
    unit = [x.double() / x.double().norm(dim=1, keepdim=True) for x in (q, k)]
    y = ops.criss_cross_attention(q, k, v, affinity="cosine", backend=backend)
    torch.testing.assert_close(y.double(), reference(*unit, v.double()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_slices_of_one_projection_and_either_memory_format(backend: str) -> None:
    fused = torch.randn(2, 4 + 4 + 6, 5, 7)
    parts = fused.split((4, 4, 6), dim=1)
    wanted = ops.criss_cross_attention(*(x.contiguous() for x in parts), backend=backend)
    last = fused.to(memory_format=torch.channels_last).split((4, 4, 6), dim=1)
    for found in (parts, last):
        torch.testing.assert_close(
            ops.criss_cross_attention(*found, backend=backend), wanted, rtol=0, atol=0
        )


@pytest.mark.parametrize("backend", BACKENDS)
def test_large_scores_do_not_overflow(backend: str) -> None:
    q, k, v = criss_cross_inputs((1, 4, 4, 6, 5))
    y = ops.criss_cross_attention(q * 100, k * 100, v, backend=backend)
    torch.testing.assert_close(y, reference(q * 100, k * 100, v), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_nan_reaches_its_cross_and_nothing_else(backend: str) -> None:
    q, k, v = criss_cross_inputs((1, 4, 4, 6, 5))
    v[0, 0, 2, 3] = float("nan")
    y = ops.criss_cross_attention(q, k, v, backend=backend)
    hit = torch.zeros(6, 5, dtype=torch.bool)
    hit[2], hit[:, 3] = True, True
    assert torch.equal(y[0, 0].isnan(), hit)
    assert not y[0, 1:].isnan().any()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("strided", [False, True])
def test_opcheck(backend: str, strided: bool) -> None:
    inputs = criss_cross_inputs((1, 4, 6, 5, 3))
    if strided:
        inputs = [x.to(memory_format=torch.channels_last) for x in inputs]
    torch.library.opcheck(_forward, (*(x.requires_grad_() for x in inputs), backend))


@pytest.mark.parametrize("backend", BACKENDS)
def test_compiles_into_one_graph_and_exports(backend: str) -> None:
    class Layer(torch.nn.Module):
        def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return ops.criss_cross_attention(q, k, v, backend=backend) + v

    inputs, layer = criss_cross_inputs((1, 4, 6, 5, 3)), Layer()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*inputs), layer(*inputs))
    exported = torch.export.export(layer, tuple(inputs)).module()
    torch.testing.assert_close(exported(*inputs), layer(*inputs))


def test_autocast_casts_to_its_dtype() -> None:
    q, k, v = criss_cross_inputs((1, 4, 6, 5, 3))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = ops.criss_cross_attention(q, k.bfloat16(), v)
    assert y.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (
            lambda q, k, v: (q[0], k, v),
            ValueError,
            r"q must be \[B, channels, H, W\], got \[4, 5, 3\]",
        ),
        (
            lambda q, k, v: (q, k[..., :2], v),
            ValueError,
            r"k must be \[1, 4, 5, 3\] like q, got \[1, 4, 5, 2\]",
        ),
        (lambda q, k, v: (q, k, v[:, :, :4]), ValueError, r"v must be \[1, 'C', 5, 3\] like q"),
        (lambda q, k, v: (q, k.half(), v), TypeError, "k must be torch.float32 on cpu like q"),
        (lambda q, k, v: (q.int(), k.int(), v.int()), TypeError, "q must be float32, float16"),
        (lambda q, k, v: (q[:0], k[:0], v[:0]), ValueError, "must not be empty"),
    ],
)
def test_what_does_not_fit_is_named(
    change: Callable[..., tuple[Tensor, ...]], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        ops.criss_cross_attention(*change(*criss_cross_inputs((1, 4, 6, 5, 3))))


def test_a_named_backend_runs_or_raises() -> None:
    q, k, v = criss_cross_inputs((1, 200, 6, 5, 3))
    with pytest.raises(
        ops.BackendError, match="'triton' takes at most 128 query channels, got 200"
    ):
        ops.criss_cross_attention(q, k, v, backend="triton")
    with pytest.raises(ops.BackendError, match=r"'native' computes in float32, got torch.float16"):
        ops.criss_cross_attention(q.half(), k.half(), v.half(), backend="native")
    with pytest.raises(ValueError, match="one of auto, triton, native, torch, got 'cuda'"):
        ops.criss_cross_attention(q, k, v, backend="cuda")
    with pytest.raises(ValueError, match="affinity must be one of dot, cosine"):
        ops.criss_cross_attention(q, k, v, affinity="euclid")


def test_an_image_longer_than_an_index_is_refused() -> None:
    q, v = torch.empty((1, 8, 4096, 2048)), torch.empty((1, 1, 1, 1)).expand(1, 129, 4096, 2048)
    with pytest.raises(ops.BackendError, match="at most 1073741824 elements, got 1082130432"):
        ops.criss_cross_attention(q, q, v, backend="triton")


def test_there_is_no_second_derivative() -> None:
    inputs = [x.requires_grad_() for x in criss_cross_inputs((1, 4, 6, 5, 3))]
    (dq,) = torch.autograd.grad(
        ops.criss_cross_attention(*inputs).sum(), inputs[:1], create_graph=True
    )
    with pytest.raises(RuntimeError):
        torch.autograd.grad(dq.sum(), inputs[0])
