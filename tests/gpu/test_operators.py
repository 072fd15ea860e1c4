"""Every operator on a GPU, at the shapes of its models: as good as eager, forward and backward, and the same bits twice.

``compute-sanitizer --tool memcheck python -m pytest tests/gpu -k sanitizer`` runs the small shapes only.
``VADFAST_BENCH_DEVICE=cpu VADFAST_BENCH_TINY=1 TRITON_INTERPRET=1`` runs the same checks, in little, where there is no GPU.
"""

import gc
import importlib
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from vadfast_kernels import OPERATORS

from bench.device import device, is_tiny
from tests.gpu.cases import REAL, SMALL, Case
from tests.ops.tolerances import GRADIENT_FACTOR, assert_as_good_as_eager, values_and_gradients

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        device().type != "cuda" and not is_tiny(),
        reason="torch finds no GPU; VADFAST_BENCH_DEVICE=cpu VADFAST_BENCH_TINY=1 runs this in little",
    ),
]


@pytest.fixture(autouse=True)
def _memory_is_given_back() -> Iterator[None]:
    yield
    gc.collect()
    torch.cuda.empty_cache()


def _runs(cases: Sequence[Case]) -> list[Any]:
    """Each case in each dtype on each backend that its operator has on a GPU."""
    return [
        pytest.param(case, dtype, backend.name, id=f"{case} {dtype} {backend.name}")
        for case in cases
        for dtype in case.dtypes
        for backend in importlib.import_module(OPERATORS[case.operator]).OPERATOR.backends
        if backend.name != "native"  # criss-cross attention's is for CPUs
    ]


def _check(case: Case, dtype: torch.dtype, backend: str) -> None:
    if device().type == "cpu" and backend == "triton" and dtype == torch.bfloat16:
        pytest.skip("Triton's interpreter cuts bfloat16 where a GPU rounds")
    inputs = case.inputs(dtype, device())
    leaves, constants = inputs[: case.n_trained], inputs[len(inputs[: case.n_trained]) :]
    exact = [x.double() for x in constants]

    def fused(*x: Tensor) -> Any:
        return _call(case.fused, x, constants, case.options | {"backend": backend})

    found, grads = values_and_gradients(fused, leaves)
    for first, second in zip(
        (*found, *grads), (y for ys in values_and_gradients(fused, leaves) for y in ys), strict=True
    ):
        assert torch.equal(first, second), "two runs differ"
    wanted, wanted_grads = values_and_gradients(
        lambda *x: _call(case.eager, x, constants, case.options), leaves
    )
    true, true_grads = values_and_gradients(
        lambda *x: _call(case.eager, x, exact, case.options), [x.double() for x in leaves]
    )
    for i, (mine, eager, truth) in enumerate(zip(found, wanted, true, strict=True)):
        assert_as_good_as_eager(mine, eager.to(mine.dtype), truth, what=f"result {i}")
    for i, triple in enumerate(zip(grads, wanted_grads, true_grads, strict=True)):
        assert_as_good_as_eager(*triple, factor=GRADIENT_FACTOR, what=f"gradient of input {i}")


def _call(function: Any, x: Sequence[Tensor], rest: Sequence[Tensor], options: Any) -> Any:
    """By position, but for the bias of variance attention, which has a name."""
    if "cell" in options:
        return function(*x[:2], bias=x[2], **options)
    return function(*x, *rest, **options)


@pytest.mark.parametrize(("case", "dtype", "backend"), _runs(REAL))
def test_at_the_shapes_of_the_models(case: Case, dtype: torch.dtype, backend: str) -> None:
    if device().type == "cuda":
        free_gb = torch.cuda.mem_get_info()[0] / 1e9
        if case.eager_gb > free_gb:
            pytest.skip(
                f"the float64 reference takes {case.eager_gb:.0f} GB, {free_gb:.0f} are free"
            )
    _check(case, dtype, backend)


@pytest.mark.parametrize(("case", "dtype", "backend"), _runs(SMALL))
def test_sanitizer_on_tiles_that_end_early(case: Case, dtype: torch.dtype, backend: str) -> None:
    _check(case, dtype, backend)
