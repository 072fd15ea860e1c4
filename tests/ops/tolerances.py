"""The tolerance rule: against the float64 reference a kernel may be off by twice what eager is in the same dtype, gradients by three times.

The floor is the round-off of one float32 sum: below it an error says nothing.
"""

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
