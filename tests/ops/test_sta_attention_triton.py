"""STA's attention in Triton: both forms against the float64 reference, in the interpreter where there is no GPU."""

import functools
import os
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from vadfast_kernels import BackendError, ops
from vadfast_kernels.sta_attention import circle, triton_impl, tuned
from vadfast_kernels.sta_attention.op import _forward, _prepare
from vadfast_kernels.sta_attention.reference import sta_attention as reference

from tests.ops.inputs import sta_inputs
from tests.ops.tolerances import (
    GRADIENT_FACTOR,
    assert_as_good_as_eager,
    values_and_gradients,
)

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
NAMES = ("f", "wq", "bq", "wk", "bk")
FORMS = pytest.mark.parametrize("max_error", [1e-7, 0.0], ids=["linear", "exact"])
# What does not depend on the number of harmonics is tested with 2, which the interpreter finishes five times as fast.
FEW = pytest.mark.parametrize("max_error", [0.5, 0.0], ids=["linear", "exact"])
# One element; one row; one column; primes; two tiles of columns, the second short.
SHAPES = ((1, 1, 1), (1, 1, 9), (1, 7, 1), (1, 5, 13), (1, 2, 37))


def _inputs(shape: tuple[int, ...]) -> list[Tensor]:
    return [x.to(DEVICE) for x in sta_inputs(shape)]


def _fused(max_error: float, recurrence: int = 1) -> Callable[..., Tensor]:
    return functools.partial(
        ops.sta_attention, recurrence=recurrence, max_error=max_error, backend="triton"
    )


def _assert_good(inputs: list[Tensor], max_error: float, recurrence: int = 1) -> None:
    eager = functools.partial(reference, recurrence=recurrence)
    (found,), grads = values_and_gradients(_fused(max_error, recurrence), inputs)
    (wanted,), eager_grads = values_and_gradients(eager, inputs)
    (truth,), true_grads = values_and_gradients(eager, [x.double() for x in inputs])
    assert_as_good_as_eager(found, wanted, truth, what="y")
    for name, *three in zip(NAMES, grads, eager_grads, true_grads, strict=True):
        assert_as_good_as_eager(*three, factor=GRADIENT_FACTOR, what=f"d{name}")


@FORMS
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values_and_gradients(shape: tuple[int, ...], max_error: float) -> None:
    _assert_good(_inputs(shape), max_error)


@FORMS
def test_twice_with_the_same_weights(max_error: float) -> None:
    _assert_good(_inputs((2, 2, 11)), max_error, recurrence=2)


@FORMS
def test_several_splits_of_a_row_and_of_the_product(
    max_error: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuned, "PER_SPLIT", tuned.COLUMNS)
    monkeypatch.setattr(tuned, "PER_PRODUCT", tuned.PRODUCT_COLUMNS)
    _assert_good(_inputs((1, 2, 71)), max_error)


@FORMS
def test_features_far_from_zero_lose_no_more_than_in_eager(max_error: float) -> None:
    f, *weights = _inputs((1, 3, 11))
    _assert_good([f + 3, *weights], max_error)


@FEW
def test_any_strides(max_error: float) -> None:
    f, *weights = _inputs((2, 8, 6))
    strided = f.transpose(1, 2)[:, ::2]  # [B, 3, 8]
    weights = [torch.stack([w, w], dim=1)[:, 0] for w in weights]
    y = _fused(max_error)(strided, *weights)
    assert y.is_contiguous()
    assert torch.equal(y, _fused(max_error)(strided.contiguous(), *weights))


@FEW
def test_twice_gives_the_same_bits(max_error: float) -> None:
    inputs = _inputs((2, 2, 5))
    runs = [values_and_gradients(_fused(max_error), inputs) for _ in range(2)]
    (y, grads), (again, grads_again) = runs
    assert torch.equal(y[0], again[0])
    assert all(torch.equal(a, b) for a, b in zip(grads, grads_again, strict=True))


@FEW
def test_a_nan_reaches_its_row_and_its_column(max_error: float) -> None:
    f, *weights = _inputs((2, 3, 4))
    f[0, 1, 2] = float("nan")
    lost = _fused(max_error)(f, *weights).isnan()
    wanted = torch.zeros_like(lost)
    wanted[0, 1], wanted[0, :, 2] = True, True
    assert torch.equal(lost, wanted)


@pytest.mark.parametrize("n_harmonics", [0, 1])
def test_opcheck(n_harmonics: int) -> None:
    f, *weights = _inputs((1, 2, 3))
    torch.library.opcheck(_prepare, (*weights, n_harmonics, "triton"))
    planes, kernel = circle.prepared(*weights, n_harmonics)
    kernel.requires_grad_(n_harmonics > 0)
    torch.library.opcheck(_forward, (f.requires_grad_(), planes.requires_grad_(), kernel, "triton"))


@pytest.mark.parametrize("n_harmonics", [0, 1, 9, tuned.MAX_HARMONICS])
@pytest.mark.parametrize("case", ["any", "no bias", "no weight", "parallel", "one channel"])
def test_what_is_made_of_the_weights(n_harmonics: int, case: str) -> None:
    wq, bq, wk, bk = (x.double() for x in _inputs((1, 1, 1))[1:])
    if case == "no bias":
        bq = torch.zeros_like(bq)
    elif case == "no weight":
        wk = torch.zeros_like(wk)
    elif case == "parallel":
        bq = -0.3 * wq  # rounded: not to the last bit
    elif case == "one channel":
        wq, bq, wk, bk = (x[:1] for x in (wq, bq, wk, bk))
    # Float64 in, float64 out: what is made in between shows, not the last rounding.
    found = triton_impl.prepare(wq, bq, wk, bk, n_harmonics)
    wanted = circle.prepared(wq, bq, wk, bk, n_harmonics)
    for x, y in zip(found, wanted, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-13, atol=1e-14)


@FEW
def test_no_gradient_no_eager_operation(max_error: float) -> None:
    class Seen(TorchDispatchMode):
        names: ClassVar[set[str]] = set()

        def __torch_dispatch__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            self.names.add(function.namespace)
            return function(*args, **(kwargs or {}))

    inputs = [x.requires_grad_() for x in _inputs((1, 2, 3))]
    with torch.no_grad(), Seen() as seen:
        _fused(max_error)(*inputs)
    assert seen.names == {"vadfast"}


class _Largest(TorchDispatchMode):
    """Remembers the most numbers that any tensor had."""

    numel = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        for x in result if isinstance(result, tuple | list) else [result]:
            self.numel = max(self.numel, x.numel() if isinstance(x, Tensor) else 0)
        return result


def test_memory_is_linear(monkeypatch: pytest.MonkeyPatch) -> None:
    class Nothing:
        def __getitem__(self, grid: Any) -> Callable[..., None]:
            return lambda *_, **__: None

    for name in vars(triton_impl).copy():
        if name.endswith("_kernel"):
            monkeypatch.setattr(triton_impl, name, Nothing())
    f, dy = (torch.empty(64, 32, 2048, device="meta") for _ in range(2))
    planes, kernel = torch.empty(10, device="meta"), torch.empty(19, 19, device="meta")
    with _Largest() as largest:
        triton_impl.forward(f, planes, kernel)
        triton_impl.backward(f, planes, kernel, dy)
    assert largest.numel == 64 * 2 * 19 * 2048, "the sums over columns, about as many as elements"


@pytest.mark.parametrize(
    ("backend", "dtype", "max_error", "words"),
    [
        ("triton", torch.float64, 1e-7, "computes in float32, got torch.float64"),
        ("triton", torch.float32, 1e-14, "at most 12 harmonics, and this max_error takes 14"),
        ("torch", torch.float32, 0.0, "expands exp, and takes max_error above 0"),
    ],
)
def test_a_named_backend_refuses_in_words(
    backend: str, dtype: torch.dtype, max_error: float, words: str
) -> None:
    inputs = [x.to(dtype) for x in _inputs((1, 2, 3))]
    with pytest.raises(BackendError, match=words):
        ops.sta_attention(*inputs, max_error=max_error, backend=backend)


@pytest.mark.skipif(DEVICE == "cuda", reason="triton computes exp itself on a GPU")
def test_exp_itself_on_a_cpu_is_the_reference_by_name() -> None:
    assert os.environ["TRITON_INTERPRET"] == "1"  # which is chosen by name only
    inputs = _inputs((1, 2, 3))
    with pytest.raises(BackendError, match=r"no backend can run this: .*'reference' is exact"):
        ops.sta_attention(*inputs, max_error=0.0)
    y = ops.sta_attention(*inputs, max_error=0.0, backend="reference")
    assert torch.equal(y, reference(*inputs))
