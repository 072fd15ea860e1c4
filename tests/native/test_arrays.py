"""How ``_C`` reads other libraries' arrays: what it cannot read is refused in words, wherever it is given, and nothing is written."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from vadfast_kernels import _native
from vadfast_kernels.frame_score.native import frame_score, scratch_bytes
from vadfast_kernels.preprocess.native import preprocess
from vadfast_kernels.score_chain import native
from vadfast_kernels.score_chain.watch import Alert

from tests.native.fake_dlpack import BOOL, CUDA, UINT, Fake

if (reason := _native.refusal()) is not None:
    pytest.skip(f"no compiled module: it {reason}", allow_module_level=True)

X = np.arange(8.0)
F, U = np.zeros((2, 3, 6, 8), np.float32), np.zeros((2, 3, 6, 8), np.uint8)


def _crooked(like: np.ndarray) -> np.ndarray:
    """The same values, a byte beside where they may lie."""
    room = np.zeros(like.nbytes + 1, np.uint8)[1:]
    found = room.view(like.dtype).reshape(like.shape)
    found[...] = like
    return found


def _fixed(like: np.ndarray) -> np.ndarray:
    found = like.copy()
    found.flags.writeable = False
    return found


def _alert() -> Alert:
    return Alert(threshold=1.0, clear_threshold=1.0, raise_count=1, raise_window=1, clear_count=1)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: native.minmax(np.zeros(3, dtype=[])), r"minmax: x must be float64, got \[\] \[3\]"),
        (lambda: native.minmax(np.zeros(3, "V0")), "minmax: x must be float64, got .V0"),
        (lambda: native.minmax(X.astype(">f8")), r"minmax: x must be float64, got >f8 \[8\]; convert it"),
        (lambda: native.minmax(X > 3), r"minmax: x must be float64, got bool \[8\]"),
        (lambda: native.minmax(X.astype(complex)), r"minmax: x must be float64, got complex128 \[8\]"),
        (lambda: native.minmax(Fake((8,), code=BOOL, bits=8)), r"minmax: x must be float64, got bool \[8\]"),
        (lambda: native.minmax(Fake((8,), code=UINT, bits=8)), r"minmax: x must be float64, got uint8 \[8\]"),
        (lambda: native.minmax(X, out=np.zeros(8, np.float32)), "minmax: out must be float64, got float32"),
        (lambda: preprocess(np.zeros((4, 4, 3), ">u2"), size=(2, 2)), r"must be uint8, got >u2 \[4, 4, 3\]"),
        (lambda: frame_score(F.astype(">f4"), U), r"frame_score: predicted must be uint8, .* got >f4"),
        (lambda: frame_score(F, U > 0), "frame_score: truth must be uint8, .* got bool"),
        (lambda: frame_score(F, U, weight=np.ones((2, 2, 2))), r"frame_score: weight must be float32, got float64 \[2, 2, 2\]"),
        (lambda: frame_score(F, U, out={"error": np.empty(2, np.float32)}), r"out\.error must be float64, got float32"),
        (lambda: frame_score(F, U, out={"heatmap": np.empty((2, 1, 1))}), r"out\.heatmap must be float32, got float64"),
        (lambda: _alert().push(X, X), r"Alert.push: times_ns must be int64, got float64 \[8\]"),
        (lambda: _alert().push(X, np.arange(8, dtype=">i8")), "Alert.push: times_ns must be int64, got >i8"),
    ],
)  # fmt: skip
def test_another_dtype_is_a_type_error_that_names_it(call: Callable[[], Any], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        call()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: native.minmax(_crooked(X)), "minmax: x must be contiguous and aligned to its elements, .* misaligned"),
        (lambda: native.minmax(X, out=_crooked(X)), "minmax: out must be contiguous and aligned"),
        (lambda: native.minmax(X, out=_fixed(X)), r"minmax: out must be writable, got a read-only float64 \[8\]"),
        (lambda: _alert().push(X, _crooked(np.arange(8))), "Alert.push: times_ns must be contiguous and aligned"),
        (lambda: _alert().push(X, np.arange(7)), r"times_ns must be as many as scores, float64 \[8\], got int64 \[7\]"),
        (lambda: frame_score(F, U, out={"error": _crooked(np.zeros(2))}), r"frame_score: out\.error must be contiguous and aligned"),
        (lambda: frame_score(F, U, weight=_crooked(np.ones((2, 2, 2), np.float32))), "frame_score: weight must be contiguous and aligned"),
        (lambda: native.minmax(Fake((8,), bits=64, device=(CUDA, 1))), r"minmax: x must be in host memory, got float64 \[8\] on CUDA device 1"),
    ],
)  # fmt: skip
def test_memory_that_cannot_be_used_is_a_value_error(call: Callable[[], Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


# ------------------------------------------------------------------------------------------------ what is said to be a GPU's


def _frames(device: int = 0, **options: Any) -> Fake:
    return Fake((2, 3, 6, 8), device=(CUDA, device), **options)


OUT = {"error": Fake((2,), bits=64, device=(CUDA, 0))}


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: frame_score(_frames(), _frames(1)), "truth must be .* on the device of predicted, .* device 0, got .* device 1"),
        (lambda: frame_score(_frames(), F), "truth must be .* on the device of predicted"),
        (lambda: frame_score(_frames(), _frames(), weight=Fake((2, 1, 1), device=(CUDA, 1))), "weight must be on the device of predicted"),
        (lambda: frame_score(_frames(), _frames(), out={"error": Fake((2,), bits=64, device=(CUDA, 1))}), r"out\.error must be on the device"),
        (lambda: frame_score(_frames(), _frames(), out=OUT, scratch=np.empty(999)), "scratch must be device memory beside predicted"),
        (lambda: frame_score(_frames(), _frames(), out=OUT, scratch=_scratch(device=1)), "scratch must be device memory beside predicted"),
        (lambda: frame_score(_frames(), _frames(), out=OUT, scratch=_scratch(strides=(0,))), "scratch must be .* contiguous, got"),
        (lambda: frame_score(_frames(), _frames(), out=OUT, scratch=_scratch(strides=(-1,))), "scratch must be .* contiguous, got"),
        (lambda: preprocess([_picture(0), _picture(1)], out=[_picture(0), _picture(1)]), "on one device, got .* device 0 and .* device 1"),
    ],
)  # fmt: skip
def test_memory_of_another_device_is_refused(call: Callable[[], Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


def _scratch(device: int = 0, strides: tuple[int, ...] | None = None) -> Fake:
    return Fake((1 << 20,), bits=64, device=(CUDA, device), strides=strides)


def _picture(device: int) -> Fake:
    return Fake((4, 4, 3), code=UINT, bits=8, device=(CUDA, device))


def test_the_stream_of_the_work_is_what_libraries_wait_on() -> None:
    """DLPack names the default stream 1, another one by its address, and none, where nothing is read, -1."""
    for stream, named in ((0, 1), (4096, 4096)):
        truth = _frames(1)
        with pytest.raises(ValueError, match="truth"):
            frame_score(_frames(), truth, stream=stream)
        assert truth.streams == [named]
    frames = _frames()
    assert scratch_bytes(frames, frames, patches=(2, 2)) == 8 * 2 * 6 * (3 + 2 + 1)
    assert frames.streams == [-1, -1]
    with pytest.raises(TypeError, match=r"asked with \[\]"):  # of host memory none is named
        native.minmax(_Host())


class _Host:
    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)

    def __dlpack__(self, **options: Any) -> Any:
        raise TypeError(f"asked with {sorted(options)}")
