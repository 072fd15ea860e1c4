"""``_C.sta_attention`` and its gradient on arrays: any sizes, harmonics and threads, and what they refuse."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from vadfast_kernels import _native
from vadfast_kernels.sta_attention.circle import harmonics_for, prepared

from tests.native.fake_dlpack import CUDA, Fake

if (reason := _native.refusal()) is not None:
    pytest.skip(f"no compiled module: it {reason}", allow_module_level=True)


def _forward(*arrays: Any, n_threads: int = 1) -> None:
    _native.module().sta_attention(*arrays, n_threads=n_threads)


def _backward(*arrays: Any, n_threads: int = 1) -> None:
    _native.module().sta_attention_backward(*arrays, n_threads=n_threads)


def _reference(f: np.ndarray, wq: np.ndarray, bq: np.ndarray, wk: np.ndarray, bk: np.ndarray) -> np.ndarray:  # fmt: skip
    """Each element plus the mean of its row and column, itself once, weighted by exp of the cosine of q and k, in float64."""
    height, width = f.shape[1:]
    q, k = (f[..., None] * w + b for w, b in ((wq, bq), (wk, bk)))
    q, k = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (q, k))
    weights = np.exp(np.einsum("nhwd,nyxd->nhwyx", q, k))
    h, w, y, x = np.ogrid[:height, :width, :height, :width]
    weights *= (h == y) | (w == x)
    return np.einsum("nhwyx,nyx->nhw", weights, f) / weights.sum((3, 4)) + f


@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 9), st.sampled_from([1, 3, 63, 64, 65, 130])),
    max_error=st.sampled_from([1e-5, 1e-7, 1e-12]),
    n_threads=st.sampled_from([1, 2, 255, 256, 257, 2**31 - 1]),
    seed=st.integers(0, 99),
)
@settings(max_examples=25, deadline=None)
def test_any_size_is_the_formula_with_the_same_bits_by_any_threads(
    shape: tuple[int, ...], max_error: float, n_threads: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    f, dy = (random.random(shape).astype(np.float32) for _ in range(2))
    weights = random.normal(size=(4, 6))
    planes, kernel = (
        x.float().numpy() for x in prepared(*torch.from_numpy(weights), harmonics_for(max_error))
    )
    y, again = (np.full(shape, np.nan, np.float32) for _ in range(2))
    _forward(f, planes, kernel, y)
    np.testing.assert_allclose(y, _reference(f, *weights), atol=1e-5 + 6 * max_error)
    _forward(f, planes, kernel, again, n_threads=n_threads)
    assert (again == y).all()
    results = [
        [np.full_like(f, np.nan), np.full(10, np.nan), np.full(kernel.shape, np.nan)]
        for _ in range(2)
    ]
    _backward(f, planes, kernel, dy, *results[0])
    _backward(f, planes, kernel, dy, *results[1], n_threads=n_threads)
    for one, other in zip(*results, strict=True):
        assert np.isfinite(one).all()
        assert (one == other).all()


# ------------------------------------------------------------------------------------------------ bad input

F = np.zeros((1, 3, 4), np.float32)
PLANES, KERNEL = np.zeros(10, np.float32), np.zeros((5, 5), np.float32)
Y, DF = np.full(F.shape, 7, np.float32), np.full(F.shape, 7, np.float32)
DPLANES, DKERNEL = np.full(10, 7.0), np.full((5, 5), 7.0)
MANY = np.zeros((83, 83), np.float32)


def _fixed(like: np.ndarray) -> np.ndarray:
    found = like.copy()
    found.flags.writeable = False
    return found


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: _forward(F.astype(np.float64), PLANES, KERNEL, Y), TypeError, "sta_attention: f must be float32, got float64"),
        (lambda: _forward(F[0], PLANES, KERNEL, Y), ValueError, r"sta_attention: f must be of 3 sides, on the CPU, got float32 \[3, 4\]"),
        (lambda: _forward(F[:, :, ::2], PLANES, KERNEL, Y), ValueError, "sta_attention: f must be contiguous"),
        (lambda: _forward(F, PLANES[:9].copy(), KERNEL, Y), ValueError, r"planes must be \[10\], and kernel square, .* got float32 \[9\]"),
        (lambda: _forward(F, PLANES, KERNEL[:4, :4].copy(), Y), ValueError, r"kernel square, of 2 n \+ 1 rows for n harmonics, .* \[4, 4\]"),
        (lambda: _forward(F, PLANES, KERNEL[:1, :1].copy(), Y), ValueError, "harmonics at most 40 .* harmonics 0"),
        (lambda: _forward(F, PLANES, MANY, Y), ValueError, "harmonics at most 40 .* harmonics 41"),
        (lambda: _forward(F, PLANES, KERNEL, Y[:, :2].copy()), ValueError, r"sta_attention: y must be \[1, 3, 4\], got float32 \[1, 2, 4\]"),
        (lambda: _forward(F, PLANES, KERNEL, _fixed(Y)), ValueError, "sta_attention: y must be writable"),
        (lambda: _forward(F, PLANES, KERNEL, F), ValueError, "y must not overlap f"),
        (lambda: _forward(F, PLANES, KERNEL, Y, n_threads=0), ValueError, "sizes and threads must be at least 1, .* threads 0"),
        (lambda: _forward(Fake((1, 3, 4), device=(CUDA, 0)), PLANES, KERNEL, Y), ValueError, "f must be of 3 sides, on the CPU"),
        (lambda: _forward(Fake((2**32 + 1, 1, 1)), PLANES, KERNEL, Fake((2**32 + 1, 1, 1))), ValueError, r"f must be less than 2\^31"),
        (lambda: _backward(F, PLANES, KERNEL, F[:, :2].copy(), DF, DPLANES, DKERNEL), ValueError, r"sta_attention_backward: dy must be \[1, 3, 4\]"),
        (lambda: _backward(F, PLANES, KERNEL, Y, Y, DPLANES, DKERNEL), ValueError, "df must not overlap dy"),
        (lambda: _backward(F, PLANES, KERNEL, Y, DF, DKERNEL.reshape(-1)[:10], DKERNEL), ValueError, "dplanes must not overlap dkernel"),
        (lambda: _backward(F, PLANES, KERNEL, Y, DF, PLANES, DKERNEL), TypeError, "dplanes must be float64, got float32"),
        (lambda: _backward(F, PLANES, KERNEL, Y, DF, DPLANES, _fixed(DKERNEL)), ValueError, "dkernel must be writable"),
        (lambda: _backward(F, PLANES, KERNEL, Y, DF, DPLANES, DKERNEL, n_threads=0), ValueError, "sizes and threads must be at least 1"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named_and_nothing_is_written(
    call: Callable[[], None], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        call()
    assert all((x == 7).all() for x in (Y, DF, DPLANES, DKERNEL))
