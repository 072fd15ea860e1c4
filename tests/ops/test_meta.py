"""Operators on meta tensors: the shapes of a model without its numbers, as ``torch.device("meta")`` gives them."""

import pytest
import torch
from vadfast_kernels import ops


@pytest.mark.parametrize(
    ("operator", "shapes", "options"),
    [
        ("criss_cross_attention", ((1, 4, 3, 5), (1, 4, 3, 5), (1, 8, 3, 5)), {}),
        ("sta_attention", ((2, 3, 7), (4,), (4,), (4,), (4,)), {}),
        ("variance_attention", ((2, 4, 6, 6), (4, 4)), {"cell": 2}),
        ("cluster_distance", ((2, 9, 4), (3, 4)), {}),
    ],
)
def test_the_shape_comes_without_numbers(
    operator: str, shapes: tuple[tuple[int, ...], ...], options: dict[str, int]
) -> None:
    meta = getattr(ops, operator)(*(torch.empty(s, device="meta") for s in shapes), **options)
    here = getattr(ops, operator)(*(torch.randn(s) for s in shapes), **options)
    assert meta.is_meta
    assert meta.shape == here.shape
    assert meta.dtype == here.dtype
