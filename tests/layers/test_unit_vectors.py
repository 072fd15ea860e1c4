"""Unit vectors: the numbers and gradients of torch's normalize, without keeping what it keeps."""

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F

from vadfast.layers.unit_vectors import unit_vectors


def test_numbers_and_gradients_are_those_of_normalize() -> None:
    x = torch.randn(2, 5, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x[0, :, 0, 0], x[0, :, 0, 1] = 0, 1e-14  # no direction, and too short for one
    dy = torch.randn_like(x)
    results = []
    for function in (unit_vectors, F.normalize):
        leaf = x.clone().requires_grad_()
        y = function(leaf)
        (dx,) = torch.autograd.grad(y, leaf, dy)
        results.append((y.detach(), dx))
    for found, wanted in zip(*results, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    assert torch.equal(unit_vectors(x), F.normalize(x))


def test_the_gradient_is_that_of_differences() -> None:
    x = torch.randn(2, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert torch.autograd.gradcheck(unit_vectors, x.requires_grad_())
    (once,) = torch.autograd.grad(unit_vectors(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        once.sum().backward()


def test_the_argument_is_not_kept() -> None:
    x = torch.randn(1, 64, 16, 16, requires_grad=True)
    kept: list[int] = []

    def keep(t: torch.Tensor) -> torch.Tensor:
        kept.append(t.untyped_storage().data_ptr())
        return t

    with saved_tensors_hooks(keep, lambda t: t):
        y = unit_vectors(x * 2)
    assert y.untyped_storage().data_ptr() in kept
    assert len(set(kept)) == 2  # the result, and the lengths
