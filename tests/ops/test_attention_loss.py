"""The attention-weighted losses: the reference against loops and the model's own, every backend against the float64 reference."""

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from vadfast_kernels import ops
from vadfast_kernels.attention_loss import torch_impl
from vadfast_kernels.attention_loss.op import _backward, _forward
from vadfast_kernels.attention_loss.reference import attention_loss as reference

from tests.ops.inputs import DTYPES, attention_loss_inputs
from tests.ops.tolerances import (
    GRADIENT_FACTOR,
    assert_as_good_as_eager,
)

BACKENDS = ("torch", "triton")
EDGES = ("drop", "tf")
# B, C, H, W, channels of the map: a row, a column, one pixel, primes, several tiles (8 x 128) of either side.
SHAPES = ((1, 2, 1, 9, 1), (2, 1, 9, 1, 1), (1, 1, 1, 1, 1), (2, 2, 13, 37, 2), (1, 1, 9, 130, 1))
SMALL = (2, 3, 5, 6, 1)


Terms = tuple[Tensor, Tensor, Tensor]


def _with_gradient(
    function: Callable[..., Terms], inputs: list[Tensor], dloss: float = 1.0
) -> tuple[Tensor, Tensor]:
    leaf = inputs[0].detach().requires_grad_()
    loss, *_ = function(leaf, *inputs[1:])
    (gradient,) = torch.autograd.grad(loss, leaf, torch.tensor(dloss, dtype=loss.dtype))
    return loss.detach(), gradient


def _by_loops(
    p: Tensor, g: Tensor, a: Tensor, *, content_weight: float, gradient_weight: float, edge: str
) -> tuple[float, float, float]:
    a = a.expand_as(p)
    content = gradient = 0.0
    for b, c, i, j in itertools.product(*map(range, p.shape)):
        at = (b, c, i, j)
        content += float(a[at] * (p[at] - g[at])) ** 2
        for to in ((b, c, i + 1, j), (b, c, i, j + 1)):
            if to[2] < p.shape[2] and to[3] < p.shape[3]:
                dp, dg = float(p[to] - p[at]), float(g[to] - g[at])
            elif edge == "tf":
                dp, dg = -float(p[at]), -float(g[at])
            else:
                continue
            gradient += float(a[at]) * abs(abs(dp) - abs(dg))
    content, gradient = content / p.numel(), gradient / p.numel()
    return content_weight * content + gradient_weight * gradient, content, gradient


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("shape", [*SHAPES[:3], SMALL], ids=str)
def test_the_reference_is_the_formula(shape: tuple[int, ...], edge: str) -> None:
    inputs = attention_loss_inputs(shape, torch.float64)
    found = reference(*inputs, content_weight=0.7, gradient_weight=1.3, edge=edge)
    wanted = _by_loops(*inputs, content_weight=0.7, gradient_weight=1.3, edge=edge)
    assert [float(x) for x in found] == pytest.approx(list(wanted), rel=1e-12)


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("function", [reference, ops.attention_loss], ids=["reference", "op"])
def test_in_float64_the_gradient_is_that_of_differences(
    function: Callable[..., Terms], edge: str
) -> None:
    # Random: no two magnitudes are within 1e-6 of each other.
    predicted, *constants = attention_loss_inputs(SMALL, torch.float64)

    def of_predicted(x: Tensor) -> Tensor:
        return function(x, *constants, content_weight=0.7, gradient_weight=1.3, edge=edge)[0]

    assert torch.autograd.gradcheck(of_predicted, [predicted.requires_grad_()])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values_and_gradients(
    shape: tuple[int, ...], dtype: torch.dtype, edge: str, backend: str
) -> None:
    inputs = attention_loss_inputs(shape, dtype)
    weights = {"content_weight": 0.7, "gradient_weight": 1.3, "edge": edge}

    def fused(*x: Tensor) -> Terms:
        return ops.attention_loss(*x, **weights, backend=backend)

    def eager(*x: Tensor) -> Terms:
        return reference(*x, **weights)

    found, wanted = (
        _with_gradient(fused, inputs, dloss=-2.0),
        _with_gradient(eager, inputs, dloss=-2.0),
    )
    true = _with_gradient(eager, [x.double() for x in inputs], dloss=-2.0)
    assert_as_good_as_eager(found[0], wanted[0], true[0], what="loss")
    assert_as_good_as_eager(found[1], wanted[1], true[1], factor=GRADIENT_FACTOR, what="dpredicted")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [*DTYPES, torch.float64], ids=str)
def test_the_terms_come_without_weights_and_without_derivative(
    dtype: torch.dtype, backend: str
) -> None:
    if dtype == torch.float64 and backend == "triton":
        pytest.skip("Triton computes in float32")
    predicted, *constants = attention_loss_inputs((2, 2, 13, 37, 2), dtype)
    predicted.requires_grad_()
    found = ops.attention_loss(
        predicted, *constants, content_weight=0.0, gradient_weight=3.0, backend=backend
    )
    _, *wanted = reference(predicted, *constants)
    _, *true = reference(*(x.double() for x in (predicted, *constants)))
    for name, eager, truth in zip(("content", "gradient"), wanted, true, strict=True):
        term = getattr(found, name)
        assert_as_good_as_eager(term, eager.to(term.dtype), truth, what=name)
        assert not term.requires_grad
    torch.testing.assert_close(found.loss.detach(), 3 * found.gradient)
    assert found.loss.requires_grad


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("edge", EDGES)
def test_where_magnitudes_tie_the_sign_is_zero(edge: str, backend: str) -> None:
    generator = torch.Generator().manual_seed(0)
    few = [torch.randint(-1, 2, (2, 3, 13, 17), generator=generator).float() for _ in range(2)]
    # A map may even be negative.
    inputs = [*few, torch.randint(-2, 3, (2, 1, 13, 17), generator=generator).float()]

    def fused(*x: Tensor) -> Terms:
        return ops.attention_loss(*x, edge=edge, backend=backend)

    for found, wanted in zip(
        _with_gradient(fused, inputs),
        _with_gradient(lambda *x: reference(*x, edge=edge), inputs),
        strict=True,
    ):
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("backend", BACKENDS)
def test_slices_and_either_memory_format(backend: str) -> None:
    predicted, target, attention = attention_loss_inputs((2, 3, 13, 17, 1))
    wanted = _with_gradient(
        lambda *x: ops.attention_loss(*x, backend=backend), [predicted, target, attention]
    )
    last = [x.to(memory_format=torch.channels_last) for x in (predicted, target, attention)]
    frame_of_a_clip = torch.randn(2, 5, 3, 13, 17)
    frame_of_a_clip[:, -1] = target
    part_of_a_frame = torch.randn(2, 4, 20, 40)[:, 1:, 3:16, 2:36:2]
    part_of_a_frame.copy_(predicted)
    for inputs in (
        last,
        [last[0], target, attention],
        [part_of_a_frame, frame_of_a_clip[:, -1], attention],
    ):
        leaf = inputs[0].requires_grad_()
        loss = ops.attention_loss(leaf, *inputs[1:], backend=backend).loss
        (gradient,) = torch.autograd.grad(loss, leaf)
        torch.testing.assert_close(loss.detach(), wanted[0], rtol=1e-6, atol=0)
        torch.testing.assert_close(gradient, wanted[1], rtol=1e-6, atol=1e-9)
        assert gradient.stride() == torch.empty_like(leaf).stride(), (
            "the contract says the format of predicted"
        )


@pytest.mark.parametrize("backend", BACKENDS)
def test_each_tensor_has_its_own_dtype(backend: str) -> None:
    predicted, target, attention = attention_loss_inputs((2, 3, 13, 17, 1))
    inputs = [predicted.bfloat16(), target, attention]  # a network under autocast
    loss, gradient = _with_gradient(lambda *x: ops.attention_loss(*x, backend=backend), inputs)
    exact, exact_gradient = _with_gradient(reference, [x.double() for x in inputs])
    torch.testing.assert_close(loss.double(), exact, rtol=1e-6, atol=0)
    assert gradient.dtype == torch.bfloat16
    torch.testing.assert_close(gradient.double(), exact_gradient, rtol=2**-7, atol=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(ops.attention_loss(*inputs, backend=backend).loss, loss)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_mean_over_many_pixels_keeps_its_gradient_in_float16(backend: str) -> None:
    inputs = attention_loss_inputs((1, 1, 96, 128, 1), torch.float16)
    inputs[2] *= 0.1
    exact = [x.double() for x in inputs]

    def content(function: Callable[..., Terms], x: list[Tensor], **options: object) -> Tensor:
        return _with_gradient(
            lambda *y: function(*y, gradient_weight=0.0, **options), x, dloss=2.0**15
        )[1]

    truth = content(reference, exact)
    assert float(truth.abs().mean()) / 2**15 < torch.finfo(torch.float16).smallest_normal / 100
    found = content(ops.attention_loss, inputs, backend=backend)
    torch.testing.assert_close(found.double(), truth, rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize("n_planes", [1, 2, 3, 7])
def test_large_batches_go_in_parts(n_planes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = attention_loss_inputs((3, 3, 5, 6, 1))
    whole = _with_gradient(lambda *x: ops.attention_loss(*x, edge="tf", backend="torch"), inputs)
    monkeypatch.setattr(torch_impl, "_PART_BYTES", n_planes * 5 * 6 * 4)
    parts = _with_gradient(lambda *x: ops.attention_loss(*x, edge="tf", backend="torch"), inputs)
    torch.testing.assert_close(parts[0], whole[0], rtol=1e-6, atol=0)
    assert torch.equal(parts[1], whole[1])


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_calls_agree_in_every_bit(backend: str) -> None:
    inputs = attention_loss_inputs((2, 3, 13, 37, 1))
    first, second = (
        _with_gradient(lambda *x: ops.attention_loss(*x, backend=backend), inputs) for _ in range(2)
    )
    assert all(torch.equal(x, y) for x, y in zip(first, second, strict=True))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_reaches_the_loss_as_in_eager(value: float, backend: str) -> None:
    inputs = attention_loss_inputs(SMALL)
    inputs[0][0, 1, 2, 0] = value
    found = ops.attention_loss(*inputs, backend=backend)
    torch.testing.assert_close(tuple(found), reference(*inputs), equal_nan=True)


@pytest.mark.parametrize("backend", BACKENDS)
def test_inputs_stay_as_they_are(backend: str) -> None:
    inputs = attention_loss_inputs(SMALL)
    before = [x.clone() for x in inputs]
    _with_gradient(lambda *x: ops.attention_loss(*x, edge="tf", backend=backend), inputs)
    assert all(torch.equal(x, y) for x, y in zip(inputs, before, strict=True))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("strided", "trained"), [(False, True), (True, False)])
def test_opcheck(backend: str, strided: bool, trained: bool) -> None:
    inputs = attention_loss_inputs(SMALL)
    if strided:
        inputs = [x.to(memory_format=torch.channels_last) for x in inputs]
    inputs[0].requires_grad_(trained)
    torch.library.opcheck(_forward, (*inputs, 0.7, 1.3, "tf", trained, backend))
    torch.library.opcheck(_backward, (inputs[0].detach(), torch.tensor(2.0)))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_loss_alone_is_the_same_without_a_gradient_beside_it(
    shape: tuple[int, ...], edge: str, backend: str
) -> None:
    p, g, a = attention_loss_inputs(shape)
    beside = ops.attention_loss(p.requires_grad_(), g, a, edge=edge, backend=backend)
    with torch.no_grad():
        alone = ops.attention_loss(p, g, a, edge=edge, backend=backend)
    torch.testing.assert_close(tuple(alone), tuple(x.detach() for x in beside), rtol=3e-7, atol=0)
    assert not any(x.requires_grad for x in alone)


@pytest.mark.parametrize("backend", BACKENDS)
def test_compiles_into_one_graph_and_exports(backend: str) -> None:
    class Loss(torch.nn.Module):
        def forward(self, p: Tensor, g: Tensor, a: Tensor, weight: float = 0.5) -> Terms:
            loss, content, gradient = ops.attention_loss(
                p.tanh(), g, a, gradient_weight=weight, backend=backend
            )
            return 2 * loss, content, gradient

    inputs, layer = attention_loss_inputs(SMALL), Loss()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    for weight in (0.1, 0.2):  # rises from step to step in training
        found, wanted = (
            _with_gradient(lambda *x, f=f, w=weight: f(*x, w), inputs) for f in (compiled, layer)
        )
        torch.testing.assert_close(found, wanted)
    exported = torch.export.export(layer, tuple(inputs)).module()
    torch.testing.assert_close(exported(*inputs), layer(*inputs))


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (
            lambda p, g, a: (p[0], g, a),
            ValueError,
            r"predicted must be \[B, C, H, W\] and not empty, got \[3, 5, 6\]",
        ),
        (lambda p, g, a: (p[:0], g, a), ValueError, r"not empty, got \[0, 3, 5, 6\]"),
        (
            lambda p, g, a: (p, g[:1], a),
            ValueError,
            r"target must be \[2, 3, 5, 6\] like predicted, got \[1, 3, 5, 6\]",
        ),
        (
            lambda p, g, a: (p, g, a[:, 0]),
            ValueError,
            r"attention must be \[2, 3, 5, 6\] like predicted or \[2, 1, 5, 6\]",
        ),
        (lambda p, g, a: (p, g, a[:1]), ValueError, r"attention must be .* got \[1, 1, 5, 6\]"),
        (
            lambda p, g, a: (p, g.byte(), a),
            TypeError,
            r"target must be float32, .* got torch.uint8",
        ),
        (
            lambda p, g, a: (p, g.to("meta"), a),
            TypeError,
            "target must be on cpu like predicted, got one on meta",
        ),
        (
            lambda p, g, a: (p, g.requires_grad_(), a),
            ValueError,
            "target is a constant .* detach it",
        ),
        (
            lambda p, g, a: (p, g, a.requires_grad_()),
            ValueError,
            "attention is a constant .* detach it",
        ),
    ],
)
def test_what_does_not_fit_is_named(
    change: Callable[..., tuple[Tensor, ...]], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        ops.attention_loss(*change(*attention_loss_inputs(SMALL)))


def test_without_gradients_a_constant_may_require_one() -> None:
    predicted, target, attention = attention_loss_inputs(SMALL)
    wanted = ops.attention_loss(predicted, target, attention).loss
    with torch.no_grad():
        found = ops.attention_loss(predicted, target.requires_grad_(), attention).loss
    assert torch.equal(found, wanted)
    assert not found.requires_grad


def test_a_named_backend_runs_or_raises() -> None:
    inputs = attention_loss_inputs(SMALL)
    with pytest.raises(
        ops.BackendError,
        match=r"'triton' computes in float32, float16 and bfloat16, got torch.float64",
    ):
        ops.attention_loss(*inputs[:2], inputs[2].double(), backend="triton")
    with pytest.raises(ValueError, match="backend must be one of auto, triton, torch, got 'cuda'"):
        ops.attention_loss(*inputs, backend="cuda")
    with pytest.raises(ValueError, match="edge must be one of drop, tf, got 'reflect'"):
        ops.attention_loss(*inputs, edge="reflect")


def test_there_is_no_second_derivative() -> None:
    predicted, *constants = attention_loss_inputs(SMALL)
    loss = ops.attention_loss(predicted.requires_grad_(), *constants).loss
    (gradient,) = torch.autograd.grad(loss, predicted, create_graph=True)
    with pytest.raises(RuntimeError):
        torch.autograd.grad(gradient.sum(), predicted)


def test_more_tiles_than_are_added_in_a_step() -> None:
    inputs = attention_loss_inputs((3, 350, 1, 2, 1))
    found = ops.attention_loss(*inputs, backend="triton")
    for mine, truth in zip(found, reference(*(x.double() for x in inputs)), strict=True):
        torch.testing.assert_close(mine.double(), truth, rtol=1e-6, atol=0)
