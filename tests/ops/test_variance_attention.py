"""STD's variance attention: every backend against the float64 reference, and the reference against loops that share nothing with it."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from vadfast_kernels import BackendError, ops
from vadfast_kernels.variance_attention.op import _forward
from vadfast_kernels.variance_attention.reference import variance_attention as reference

from tests.ops.inputs import DTYPES, variance_inputs
from tests.ops.tolerances import (
    assert_as_good_as_eager,
    assert_gradients_as_good_as_eager,
    gradients,
)

BACKENDS = ("torch", "triton")
VARIANTS = ("code", "paper")
# B, C, D, H, W, cell: odd cells; D unlike C; more channels than a tile of the product; more cells and channels than a tile of x;
# more cells than a step of the gain.
SHAPES = (
    (2, 3, 3, 3, 9, 3), (2, 5, 7, 2, 14, 2), (1, 70, 70, 4, 8, 4), (1, 20, 20, 1, 130, 1),
    (1, 8, 8, 1, 1100, 1),
)  # fmt: skip


def _by_loops(x: Tensor, weight: Tensor, bias: Tensor, cell: int, variant: str) -> Tensor:
    y = torch.zeros_like(x)
    b_, _, h, w = x.shape
    for b in range(b_):
        variance = {}
        for i in range(0, h, cell):
            for j in range(0, w, cell):
                pooled = [
                    weight @ x[b, :, i + m, j + n] + bias for m in range(cell) for n in range(cell)
                ]
                f = [float(sum(values)) / cell**2 for values in zip(*pooled, strict=True)]
                mean = sum(f) / len(f)
                v = sum((value - mean) ** 2 for value in f)
                variance[i, j] = v if variant == "code" else v / len(f)
        total = sum(math.exp(v) for v in variance.values())
        a = {at: math.exp(v) / total for at, v in variance.items()}
        length = math.sqrt(sum(value**2 for value in a.values()))
        for (i, j), value in a.items():
            gain = math.exp(value) if variant == "code" else value / length
            y[b, :, i : i + cell, j : j + cell] = gain * x[b, :, i : i + cell, j : j + cell]
    return y


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("shape", [(1, 2, 3, 1, 1, 1), (1, 3, 2, 2, 6, 2), (2, 2, 2, 3, 2, 1)])
def test_the_reference_is_the_formula(shape: tuple[int, ...], variant: str) -> None:
    x, weight, bias = variance_inputs(shape, torch.float64)
    found = reference(x, weight, bias, cell=shape[-1], variant=variant)
    torch.testing.assert_close(
        found, _by_loops(x, weight, bias, shape[-1], variant), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    "function", [reference, ops.variance_attention], ids=["reference", "torch"]
)
def test_the_gradient_is_that_of_differences(function: Callable[..., Tensor], variant: str) -> None:
    inputs = [x.requires_grad_() for x in variance_inputs((1, 2, 3, 2, 4, 2), torch.float64)]

    def call(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return function(x, weight, bias=bias, cell=2, variant=variant)

    assert torch.autograd.gradcheck(call, inputs)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("shape", "variant"),
    [*((shape, "code") for shape in SHAPES), *((SHAPES[i], "paper") for i in (0, 3, 4))],
    ids=str,
)
def test_values_and_gradients(
    shape: tuple[int, ...], dtype: torch.dtype, variant: str, backend: str
) -> None:
    if (shape, dtype, backend) == (SHAPES[-1], torch.bfloat16, "triton"):
        pytest.skip(
            "the interpreter cuts bfloat16 where a GPU rounds, as eager does: all it is off by"
        )
    inputs, cell = variance_inputs(shape, dtype), shape[-1]
    exact = [x.double() for x in inputs]

    def fused(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return ops.variance_attention(
            x, weight, bias=bias, cell=cell, variant=variant, backend=backend
        )

    def eager(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return reference(x, weight, bias, cell=cell, variant=variant)

    assert_as_good_as_eager(fused(*inputs), eager(*inputs), eager(*exact), what="y")
    assert_gradients_as_good_as_eager(fused, eager, inputs, ("x", "weight", "bias"))


@pytest.mark.parametrize("backend", BACKENDS)
def test_without_a_bias_as_published(backend: str) -> None:
    x, weight, _ = variance_inputs(SHAPES[0])

    def fused(x: Tensor, weight: Tensor) -> Tensor:
        return ops.variance_attention(x, weight, cell=3, backend=backend)

    def eager(x: Tensor, weight: Tensor) -> Tensor:
        return reference(x, weight, cell=3)

    torch.testing.assert_close(fused(x, weight), eager(x, weight))
    for found, wanted in zip(
        gradients(fused, [x, weight]), gradients(eager, [x, weight]), strict=True
    ):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("variant", "gain"), [("code", math.e), ("paper", 1.0)])
def test_a_single_cell_takes_all(backend: str, variant: str, gain: float) -> None:
    x, weight, bias = variance_inputs((1, 3, 3, 5, 5, 5))
    y = ops.variance_attention(x, weight, bias=bias, cell=5, variant=variant, backend=backend)
    torch.testing.assert_close(y, x * gain)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_variances_beyond_every_exponential_and_beyond_float16(
    dtype: torch.dtype, variant: str, backend: str
) -> None:
    x, weight, _ = variance_inputs((2, 16, 16, 4, 6, 2), dtype)
    x = (x * 500).requires_grad_()
    weight = weight.requires_grad_()
    f = torch.einsum("dc,bchw->bdhw", weight.double(), x.double())
    assert f.var(dim=1).max() * 16 > 1e6, "float16 ends at 65504, exp of float32 at 88"
    y = ops.variance_attention(x, weight, cell=2, variant=variant, backend=backend)
    truth = reference(x.double(), weight.double(), cell=2, variant=variant)
    torch.testing.assert_close(
        y.double(), truth, rtol=1e-5 if dtype == torch.float32 else 1e-2, atol=1e-2
    )
    for gradient in torch.autograd.grad(y.sum(), (x, weight)):
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_any_strides_and_the_memory_format_of_x(backend: str) -> None:
    x, weight, bias = variance_inputs((2, 6, 4, 4, 6, 2))

    def call(x: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
        x = x.detach().requires_grad_()
        y = ops.variance_attention(x, weight, bias=bias, cell=2, backend=backend)
        dy = torch.linspace(-1, 1, y.numel()).view(y.shape)
        return y, *torch.autograd.grad(y, x, dy.to(memory_format=torch.channels_last))

    wanted = call(x, weight)
    last = x.to(memory_format=torch.channels_last)
    slices = torch.stack([x, -x], dim=2)[:, :, 0]
    turned = x.transpose(2, 3).contiguous().transpose(2, 3)
    for other, other_weight in (
        (last, weight),
        (slices, weight),
        (turned, weight.T.contiguous().T),
    ):
        for found, exact in zip(call(other, other_weight), wanted, strict=True):
            torch.testing.assert_close(found, exact)
    assert all(t.is_contiguous(memory_format=torch.channels_last) for t in call(last, weight))
    assert all(t.is_contiguous() for t in wanted)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_nan_reaches_its_image_and_no_other(backend: str) -> None:
    x, weight, _ = variance_inputs((2, 3, 3, 4, 6, 2))
    x[1, 0, 3, 2] = float("nan")
    y = ops.variance_attention(x, weight, cell=2, backend=backend)
    assert y[1].isnan().all()
    assert not y[0].isnan().any()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("with_bias", [False, True])
def test_opcheck(backend: str, with_bias: bool) -> None:
    x, weight, bias = (t.requires_grad_() for t in variance_inputs((1, 4, 6, 4, 6, 2)))
    last = x.detach().to(memory_format=torch.channels_last).requires_grad_()
    for one in (x, last):
        torch.library.opcheck(
            _forward, (one, weight, bias if with_bias else None, 2, "code", backend)
        )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_compiles_into_one_graph_and_exports(variant: str, backend: str) -> None:
    class Layer(torch.nn.Module):
        def forward(self, x: Tensor, weight: Tensor) -> Tensor:
            return ops.variance_attention(x, weight, cell=2, variant=variant, backend=backend) + x

    inputs, layer = variance_inputs((1, 4, 4, 4, 6, 2))[:2], Layer()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*inputs), layer(*inputs))
    torch.testing.assert_close(gradients(compiled, inputs), gradients(layer, inputs))
    exported = torch.export.export(layer, tuple(inputs)).module()
    torch.testing.assert_close(exported(*inputs), layer(*inputs))


def test_autocast_casts_to_its_dtype() -> None:
    x, weight, bias = variance_inputs(SHAPES[0])
    rounded = [t.bfloat16() for t in (x, weight, bias)]
    for backend in BACKENDS:
        wanted = ops.variance_attention(*rounded[:2], bias=rounded[2], cell=3, backend=backend)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = ops.variance_attention(x, rounded[1], bias=bias, cell=3, backend=backend)
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (
            {"x": torch.zeros(3, 6, 9)},
            ValueError,
            r"x must be \[B, C, H, W\] and not empty, got \[3, 6, 9\]",
        ),
        ({"x": torch.zeros(0, 3, 6, 9)}, ValueError, r"not empty, got \[0, 3, 6, 9\]"),
        (
            {"x": torch.zeros(1, 3, 6, 9, dtype=torch.int32)},
            TypeError,
            "x must be float32, float16",
        ),
        (
            {"weight": torch.zeros(3, 4)},
            ValueError,
            r"weight must be \[D, 3\] as x is, got \[3, 4\]",
        ),
        (
            {"weight": torch.zeros(3, 3).half()},
            TypeError,
            "weight must be torch.float32 on cpu like x",
        ),
        ({"bias": torch.zeros(4)}, ValueError, r"bias must be \[3\] like weight, got \[4\]"),
        ({"cell": 2}, ValueError, "cell must divide H and W, 6 and 9, got 2"),
        ({"cell": 0}, ValueError, "cell must divide H and W"),
        ({"variant": "text"}, ValueError, "variant must be one of code, paper, got 'text'"),
        ({"backend": "cuda"}, ValueError, "backend must be one of auto, triton, torch, got 'cuda'"),
    ],
)
def test_what_does_not_fit_is_named(
    change: dict[str, Any], error: type[Exception], words: str
) -> None:
    x, weight, bias = variance_inputs((1, 3, 3, 6, 9, 3))
    arguments: dict[str, Any] = {"x": x, "weight": weight, "bias": bias, "cell": 3} | change
    with pytest.raises(error, match=words):
        ops.variance_attention(arguments.pop("x"), arguments.pop("weight"), **arguments)


def test_a_named_backend_runs_or_raises() -> None:
    x, weight, _ = variance_inputs((1, 2, 2, 65, 65, 65))
    with pytest.raises(BackendError, match="'triton' takes cells of at most 64, got 65"):
        ops.variance_attention(x, weight, cell=65, backend="triton")
    with pytest.raises(BackendError, match="'triton' computes in float32, float16 and bfloat16"):
        ops.variance_attention(x.double(), weight.double(), cell=5, backend="triton")


def test_there_is_no_second_derivative() -> None:
    x, weight = (t.requires_grad_() for t in variance_inputs((1, 4, 4, 4, 6, 2))[:2])
    (dx,) = torch.autograd.grad(
        ops.variance_attention(x, weight, cell=2).sum(), x, create_graph=True
    )
    with pytest.raises(RuntimeError):
        torch.autograd.grad(dx.sum(), x)
