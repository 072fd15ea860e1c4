"""``_C.criss_cross`` and ``_C.channels_last`` on arrays: any sizes and strides, any number of threads, and what they refuse."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vadfast_kernels import _native

from tests.native.fake_dlpack import CUDA, Fake

if (reason := _native.refusal()) is not None:
    pytest.skip(f"no compiled module: it {reason}", allow_module_level=True)

N_THREADS = st.sampled_from([1, 2, 255, 256, 257, 2**31 - 1])


def _criss_cross(*arrays: Any, n_threads: int = 1) -> None:
    _native.module().criss_cross(*arrays, n_threads=n_threads)


def _channels_last(*arrays: Any, n_threads: int = 1) -> None:
    _native.module().channels_last(*arrays, n_threads=n_threads)


def _reference(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Each position's mean of v over its row and column, itself once, weighted by exp(q . k), in float64."""
    q, k, v = (x.astype(np.float64) for x in (q, k, v))
    height, width = q.shape[1:3]
    weights = np.exp(np.einsum("nhwd,nyxd->nhwyx", q, k))
    h, w, y, x = np.ogrid[:height, :width, :height, :width]
    weights *= (h == y) | (w == x)
    return np.einsum("nhwyx,nyxc->nhwc", weights, v) / weights.sum((3, 4))[..., None]


@given(
    shape=st.tuples(st.integers(1, 2), st.integers(1, 9), st.integers(1, 20)),
    d=st.integers(1, 9),
    c=st.integers(1, 35),
    layout=st.sampled_from(["dense", "every second row", "columns first", "backwards"]),
    n_threads=N_THREADS,
    seed=st.integers(0, 99),
)
@settings(max_examples=100, deadline=None)
def test_criss_cross_of_any_size_and_stride_is_the_formula(
    shape: tuple[int, int, int], d: int, c: int, layout: str, n_threads: int, seed: int
) -> None:
    random = np.random.default_rng(seed)

    def made(channels: int) -> np.ndarray:
        n, height, width = shape
        x = random.normal(size=(n, 2 * height, width, channels)).astype(np.float32)
        if layout == "columns first":
            return x[:, :height].transpose(0, 2, 1, 3).copy().transpose(0, 2, 1, 3)
        return {"dense": x[:, :height].copy(), "every second row": x[:, ::2], "backwards": x[:, :height][:, ::-1, ::-1]}.get(layout, x)  # fmt: skip

    q, k, v = made(d), made(d), made(c)
    y, state = np.full((*shape, c), np.nan, np.float32), np.full((*shape, 2), np.nan, np.float32)
    _criss_cross(q, k, v, y, state, n_threads=n_threads)
    np.testing.assert_allclose(y, _reference(q, k, v), atol=1e-4)
    again = np.empty_like(y)
    _criss_cross(q, k, v, again, state)
    assert (again == y).all()


@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(1, 20), st.integers(1, 20)),
    n_threads=N_THREADS,
)
@settings(max_examples=60, deadline=None)
def test_channels_last_of_any_size_is_a_transposition(
    shape: tuple[int, ...], n_threads: int
) -> None:
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    out = np.full((shape[0], *shape[2:], shape[1]), np.nan, np.float32)
    _channels_last(x, out, n_threads=n_threads)
    assert (out == x.transpose(0, 2, 3, 1)).all()


# ------------------------------------------------------------------------------------------------ bad input

Q, V = np.zeros((1, 3, 4, 2), np.float32), np.zeros((1, 3, 4, 5), np.float32)
Y, STATE = np.full(V.shape, 7, np.float32), np.full(Q.shape, 7, np.float32)
HUGE = 2**32 + 1


def _fixed(like: np.ndarray) -> np.ndarray:
    found = like.copy()
    found.flags.writeable = False
    return found


def _crooked(like: np.ndarray) -> np.ndarray:
    return np.zeros(like.nbytes + 1, np.uint8)[1:].view(like.dtype).reshape(like.shape)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: _criss_cross(Q.astype(np.float64), Q, V, Y, STATE), TypeError, "criss_cross: q must be float32, got float64"),
        (lambda: _criss_cross(Q, Q[..., 0], V, Y, STATE), ValueError, r"criss_cross: k must be of 4 sides, .* got float32 \[1, 3, 4\]"),
        (lambda: _criss_cross(Q, Q, V.swapaxes(2, 3), Y, STATE), ValueError, "criss_cross: v must be .*, channels side by side"),
        (lambda: _criss_cross(Q, _crooked(Q), V, Y, STATE), ValueError, "criss_cross: k must be .* aligned to their elements"),
        (lambda: _criss_cross(Q, Q, V, _fixed(Y), STATE), ValueError, "criss_cross: y must be writable, got a read-only float32"),
        (lambda: _criss_cross(Q, Q, V, Y, _fixed(STATE)), ValueError, "criss_cross: state must be writable"),
        (lambda: _criss_cross(Q, Q, V, Y[:, :, ::2], STATE), ValueError, "criss_cross: y must be contiguous"),
        (lambda: _criss_cross(Q, Q, V, _crooked(Y), STATE), ValueError, "criss_cross: y must be contiguous and aligned"),
        (lambda: _criss_cross(Q, Q[:, :2], V, Y, STATE), ValueError, "criss_cross: k must be like q"),
        (lambda: _criss_cross(Q, Q, V, Y, STATE, n_threads=0), ValueError, "sizes and threads must be at least 1, .* threads 0"),
        (lambda: _criss_cross(Fake((1, 3, 4, 2), device=(CUDA, 0)), Q, V, Y, STATE), ValueError, "criss_cross: q must be of 4 sides, on the CPU"),
        (lambda: _criss_cross(_wide(2), _wide(2), _wide(5), _wide(5), _wide(2)), ValueError, r"criss_cross: q must be less than 2\^31 in each direction"),
        (lambda: _criss_cross(*[Fake((1, 3, 4, 2), strides=(2**62, 2**61, 2, 1))] * 3, np.zeros_like(Q), STATE), ValueError, r"q must have and span at most 2\^40 values"),
        (lambda: _channels_last(Q, _fixed(Q.reshape(1, 4, 2, 3))), ValueError, "channels_last: out must be writable"),
        (lambda: _channels_last(_crooked(Q), Q.reshape(1, 4, 2, 3)), ValueError, "channels_last: x must be contiguous and aligned"),
        (lambda: _channels_last(Q, Q), ValueError, "channels_last: out must be x with its channels last"),
        (lambda: _channels_last(Q.astype(">f4"), Q), TypeError, "channels_last: x must be float32, got >f4"),
        (lambda: _channels_last(_wide(1), _wide(1)), ValueError, r"channels_last: x must be less than 2\^31 in each direction"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named_and_nothing_is_written(
    call: Callable[[], None], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        call()
    assert (Y == 7).all()
    assert (STATE == 7).all()


def _wide(channels: int) -> Fake:
    """More images than an int32 counts: a cut-off size would be that of one image."""
    return Fake((HUGE, 1, 1, channels))
