"""The tolerance rule: against the float64 reference a kernel may be off by twice what eager is in the same dtype, gradients by three times.

The floor is the round-off of one float32 sum: below it an error says nothing.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

VALUE_FACTOR, GRADIENT_FACTOR = 2.0, 3.0
FLOOR = 2e-6


def error(result: Tensor, truth: Tensor) -> float:
    """The largest difference, as a share of the largest value; of 1 where all values are 0."""
    scale = float(truth.abs().max()) or 1.0
    return float((result.double() - truth).abs().max()) / scale


def assert_as_good_as_eager(
    result: Tensor, eager: Tensor, truth: Tensor, *, factor: float = VALUE_FACTOR, what: str = ""
) -> None:
    """Fails where ``result`` is worse than the rule allows; NaN always is."""
    allowed = factor * error(eager, truth) + FLOOR
    if not truth.any():  # eager may hit 0 by luck where everybody else rounds
        allowed += torch.finfo(result.dtype).eps
    found = error(result, truth)
    assert found <= allowed, f"{what}: off by {found:.3g}, {factor:g} x eager allows {allowed:.3g}"
    assert result.dtype == eager.dtype
    assert result.shape == eager.shape
    assert torch.isfinite(result).all()


def values_and_gradients(
    function: Callable[..., Any], inputs: Sequence[Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    """What a function of tensors returns, one or several, and its gradients for gradients from above that are not all alike."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    results = function(*leaves)
    results = [results] if isinstance(results, Tensor) else list(results)
    trained = [r for r in results if r.requires_grad]  # what is for logs alone does not
    above = [
        torch.linspace(-1, 1, r.numel(), dtype=torch.float64, device=r.device).view(r.shape).to(r)
        for r in trained
    ]
    grads = torch.autograd.grad(trained, leaves, above) if leaves else ()
    return [r.detach() for r in results], list(grads)


def gradients(function: Callable[..., Any], inputs: Sequence[Tensor]) -> list[Tensor]:
    """The second half of ``values_and_gradients``."""
    return values_and_gradients(function, inputs)[1]


def assert_gradients_as_good_as_eager(
    fused: Callable[..., Any],
    eager: Callable[..., Any],
    inputs: Sequence[Tensor],
    names: Sequence[str],
) -> None:
    """Compares the gradient of each input; the truth is that of ``eager`` in float64."""
    found, wanted = gradients(fused, inputs), gradients(eager, inputs)
    true = gradients(eager, [x.double() for x in inputs])
    for name, *grads in zip(names, found, wanted, true, strict=True):
        assert_as_good_as_eager(*grads, factor=GRADIENT_FACTOR, what=f"d{name}")
