"""STA's attention in linear time: the circle's bound is kept, values and gradients are the exact form's on every backend."""

import math

import pytest
import torch
from torch import Tensor
from vadfast_kernels import ops
from vadfast_kernels.sta_attention import circle
from vadfast_kernels.sta_attention.op import _forward, _prepare
from vadfast_kernels.sta_attention.reference import sta_attention as reference

from tests.ops.inputs import sta_inputs
from tests.ops.tolerances import (
    FLOOR,
    assert_as_good_as_eager,
    assert_gradients_as_good_as_eager,
    error,
    gradients,
)

SHAPES = ((1, 1, 1), (1, 1, 9), (2, 7, 1), (2, 5, 13), (3, 32, 50))
D = 10
BACKENDS = ("native", "torch")


def _by_loops(f: Tensor, wq: Tensor, bq: Tensor, wk: Tensor, bk: Tensor) -> Tensor:
    y = torch.empty_like(f)
    for b in range(f.shape[0]):
        for i in range(f.shape[1]):
            for j in range(f.shape[2]):
                cross = [(i, n) for n in range(f.shape[2])] + [
                    (m, j) for m in range(f.shape[1]) if m != i
                ]
                q = f[b, i, j] * wq + bq
                top, total = 0.0, 0.0
                for m, n in cross:
                    k = f[b, m, n] * wk + bk
                    weight = math.exp(float(q @ k / (q.norm() * k.norm())))
                    top, total = top + weight * float(f[b, m, n]), total + weight
                y[b, i, j] = top / total + f[b, i, j]
    return y


@pytest.mark.parametrize("shape", SHAPES[:4])
def test_the_reference_is_the_formula(shape: tuple[int, ...]) -> None:
    inputs = sta_inputs(shape, torch.float64)
    wanted = _by_loops(*inputs)
    torch.testing.assert_close(reference(*inputs, recurrence=1), wanted, rtol=1e-12, atol=1e-12)


def test_the_reference_has_the_gradient_of_its_differences() -> None:
    inputs = [x.requires_grad_() for x in sta_inputs((1, 3, 4), torch.float64, d=3)]
    assert torch.autograd.gradcheck(reference, inputs)


@pytest.mark.parametrize("n", [1, 2, 4, 6, 8, 10])
@pytest.mark.parametrize("tilt", [0.0, 0.3, 1.5])
def test_the_bound_is_kept_and_not_idle(n: int, tilt: float) -> None:
    turn = torch.tensor(
        [[math.cos(tilt), -math.sin(tilt)], [math.sin(tilt), math.cos(tilt)]], dtype=torch.float64
    )
    worst, steepest = 0.0, 0.0
    for scale in (1.0, 0.7, 0.0, -1.0):
        g = turn @ torch.diag(torch.tensor([1.0, scale], dtype=torch.float64))
        t = torch.linspace(0, 2 * math.pi, 181, dtype=torch.float64)
        psi = circle.features((t.cos(), t.sin()), n)
        points = torch.stack([t.cos(), t.sin()], -1)
        found, truth = psi @ circle.kernel_of(g, n) @ psi.T, (points @ g @ points.T).exp()
        worst = max(worst, float((found - truth).abs().max()))
        turned = torch.stack([-points[:, 1], points[:, 0]], -1)  # d points / dt
        slopes = psi.new_zeros(psi.shape)
        order = torch.arange(1, n + 1, dtype=psi.dtype)
        slopes[:, 1::2], slopes[:, 2::2] = -order * psi[:, 2::2], order * psi[:, 1::2]
        slope = slopes @ circle.kernel_of(g, n) @ psi.T - truth * (turned @ g @ points.T)
        steepest = max(steepest, float(slope.abs().max()))
    assert worst <= circle.error_bound(n) + 1e-14
    assert steepest <= circle.error_bound(n) + 1e-13
    assert steepest >= circle.error_bound(n) / 10, (
        "a bound ten times too wide would waste harmonics"
    )


def test_harmonics_follow_the_error_that_is_asked_for() -> None:
    assert [circle.harmonics_for(e) for e in (1e-2, 1e-4, 1e-7)] == [4, 6, 9]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("recurrence", [1, 2])
@pytest.mark.parametrize("backend", BACKENDS)
def test_values_and_gradients(shape: tuple[int, ...], recurrence: int, backend: str) -> None:
    inputs = sta_inputs(shape)
    exact = [x.double() for x in inputs]

    def fused(*x: Tensor) -> Tensor:
        return ops.sta_attention(*x, recurrence=recurrence, backend=backend)

    def eager(*x: Tensor) -> Tensor:
        return reference(*x, recurrence=recurrence)

    assert_as_good_as_eager(fused(*inputs), eager(*inputs), eager(*exact), what="y")
    assert_gradients_as_good_as_eager(fused, eager, inputs, ("f", "wq", "bq", "wk", "bk"))


def test_in_float64_the_gradient_is_that_of_differences() -> None:
    inputs = [x.requires_grad_() for x in sta_inputs((1, 3, 4), torch.float64, d=3)]

    def fused(*x: Tensor) -> Tensor:
        return ops.sta_attention(*x, max_error=1e-14)

    assert torch.autograd.gradcheck(fused, inputs)


@pytest.mark.parametrize("case", ["no bias", "no weight", "parallel", "one channel"])
def test_degenerate_planes(case: str) -> None:
    f, wq, bq, wk, bk = sta_inputs((1, 4, 6), torch.float64)
    f = f + 0.1
    if case == "no bias":
        bq = torch.zeros_like(bq)
    elif case == "no weight":
        wk = torch.zeros_like(wk)
    elif case == "parallel":
        bq = -0.3 * wq  # changes sign within the features
    else:
        wq, bq, wk, bk = (x[:1] for x in (wq, bq, wk, bk))
    inputs = [f, wq, bq, wk, bk]
    truth = reference(*inputs)
    assert error(ops.sta_attention(*inputs, max_error=1e-12), truth) <= FLOOR
    in_float32 = ops.sta_attention(*(x.float() for x in inputs), max_error=1e-12, backend="native")
    assert error(in_float32, truth) <= FLOOR


def test_where_there_is_no_direction_there_is_no_gradient() -> None:
    f, wq, _, wk, bk = sta_inputs((1, 4, 6))
    f[0, 1, 2] = 0  # q is 0 there, without a bias
    for backend in BACKENDS:
        leaves = [x.clone().requires_grad_() for x in (f, wq, torch.zeros(D), wk, bk)]
        ops.sta_attention(*leaves, recurrence=1, backend=backend).sum().backward()
        assert all(torch.isfinite(x.grad).all() for x in leaves if x.grad is not None)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_reaches_its_cross_and_nothing_else(backend: str, value: float) -> None:
    f, *weights = sta_inputs((2, 5, 70))
    f[1, 3, 66] = value
    y = ops.sta_attention(f, *weights, recurrence=1, backend=backend)
    touched = torch.zeros(f.shape, dtype=torch.bool)
    touched[1, 3], touched[1, :, 66] = True, True
    assert torch.equal(~torch.isfinite(y), touched)


def test_native_gives_the_same_bits_with_any_number_of_threads() -> None:
    inputs = sta_inputs((3, 7, 150))

    def grads() -> list[Tensor]:
        return gradients(lambda *x: ops.sta_attention(*x, backend="native"), inputs)

    threads = torch.get_num_threads()
    found = grads()
    try:
        torch.set_num_threads(3)
        again = grads()
    finally:
        torch.set_num_threads(threads)
    assert all(map(torch.equal, found, again))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_slice_is_what_its_copy_is(backend: str) -> None:
    f, *weights = sta_inputs((4, 5, 12))
    for part in (f[::2, :, 3:8], f.mT):
        leaf = part.detach().requires_grad_()
        found = ops.sta_attention(leaf, *weights, backend=backend)
        wanted = ops.sta_attention(part.contiguous(), *weights, backend=backend)
        assert torch.equal(found, wanted)
        found.sum().backward()  # whose gradient is one number, expanded
        assert leaf.grad is not None
        assert torch.isfinite(leaf.grad).all()


@pytest.mark.parametrize("max_error", [1e-2, 1e-4])
def test_a_looser_bound_is_kept(max_error: float) -> None:
    inputs = sta_inputs((1, 8, 20), torch.float64)
    found = ops.sta_attention(*inputs, recurrence=1, max_error=max_error) - reference(
        *inputs, recurrence=1
    )
    # Weights are at least 1/e, so a mean of values in [0, 1] moves by at most 2 e times the error of a weight.
    assert float(found.abs().max()) <= 2 * math.e * max_error
    assert float(found.abs().max()) > 1e-12, "a looser bound should be cheaper, and shows"


def test_memory_is_linear(monkeypatch: pytest.MonkeyPatch) -> None:
    largest = 0
    make = torch.stack

    def watched(tensors: list[Tensor], *rest: object, **options: object) -> Tensor:
        nonlocal largest
        made = make(tensors, *rest, **options)  # type: ignore[arg-type]
        largest = max(largest, made.numel())
        return made

    monkeypatch.setattr(torch, "stack", watched)
    f, *weights = sta_inputs((40, 32, 400))
    ops.sta_attention(f, *weights, backend="torch")
    assert largest * f.element_size() <= 8 << 20, "features of all bags at once"
    assert largest < f[0].numel() * (32 + 400) / 2, "as many numbers as scores"


@pytest.mark.parametrize("backend", BACKENDS)
def test_opcheck(backend: str) -> None:
    f, *weights = sta_inputs((2, 3, 5))
    torch.library.opcheck(_prepare, (*weights, 8, backend))
    tensors = (f, *circle.prepared(*weights, 8))
    torch.library.opcheck(_forward, (*(x.requires_grad_() for x in tensors), backend))


def test_a_frozen_weight_changes_no_bit() -> None:
    inputs = sta_inputs((2, 3, 5))
    trained = [inputs[0], *(x.clone().requires_grad_() for x in inputs[1:])]
    assert torch.equal(ops.sta_attention(*inputs), ops.sta_attention(*trained))


def test_compiles_into_one_graph_and_exports() -> None:
    class Layer(torch.nn.Module):
        def forward(self, *x: Tensor) -> Tensor:
            return ops.sta_attention(*x)

    inputs, layer = sta_inputs((1, 4, 6)), Layer()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*inputs), layer(*inputs))
    exported = torch.export.export(layer, tuple(inputs)).module()
    torch.testing.assert_close(exported(*inputs), layer(*inputs))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"recurrence": 0}, "recurrence must be at least 1, got 0"),
        ({"max_error": -1e-3}, "max_error must be at least 0"),
        ({"backend": "cuda"}, "backend must be one of auto, triton, native, torch"),
    ],
)
def test_options_out_of_range_are_named(options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ops.sta_attention(*sta_inputs((1, 4, 6)), **options)


def test_a_named_backend_runs_or_raises() -> None:
    inputs = sta_inputs((1, 4, 6))
    with pytest.raises(ops.BackendError, match=r"'native' computes in float32, got torch\.float64"):
        ops.sta_attention(*(x.double() for x in inputs), backend="native")
    with pytest.raises(ops.BackendError, match=r"'native' expands exp, and takes max_error above"):
        ops.sta_attention(*inputs, max_error=0, backend="native")


def test_what_does_not_fit_is_named() -> None:
    f, wq, bq, wk, bk = sta_inputs((1, 4, 6))
    with pytest.raises(ValueError, match=r"f must be \[B, N, C\]"):
        ops.sta_attention(f[0], wq, bq, wk, bk)
    with pytest.raises(ValueError, match=r"bk must be \[D\] like wq, got \[3\]"):
        ops.sta_attention(f, wq, bq, wk, bk[:3])
    with pytest.raises(TypeError, match=r"wk must be torch\.float32 on cpu like f"):
        ops.sta_attention(f, wq, bq, wk.double(), bk)
