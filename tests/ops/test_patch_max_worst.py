"""MTL's loss where there are more patches than a program compares at once: the first of the worst, wherever it is."""

import pytest
import torch
from vadfast_kernels.patch_max_loss.op import _forward


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # NumPy's, in the interpreter
@pytest.mark.parametrize("backend", ["torch", "triton"])
@pytest.mark.parametrize("value", [9.0, float("inf"), float("nan")])
@pytest.mark.parametrize("at", [(70,), (3, 70), (66, 70)], ids=str)
def test_of_many_patches_the_first_of_the_worst(
    at: tuple[int, ...], value: float, backend: str
) -> None:
    p, t = torch.zeros(1, 1, 4, 20), torch.zeros(1, 1, 4, 20)
    p.view(-1)[0] = -float("inf") if value != value else 1.0
    for patch in at:
        p.view(-1)[patch] = value
    loss, worst = _forward(p, t, 4, 20, backend)
    assert worst.tolist() == [min(at)]
    torch.testing.assert_close(loss, torch.tensor(value) ** 2, equal_nan=True)
