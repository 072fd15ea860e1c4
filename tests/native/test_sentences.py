"""An argument of another kind is refused in one sentence, which names the function, what was wanted and what came."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from vadfast_kernels import _native
from vadfast_kernels.frame_score.native import frame_score
from vadfast_kernels.preprocess.native import preprocess
from vadfast_kernels.score_chain.native import Branch, Chain, gaussian, median, minmax
from vadfast_kernels.score_chain.watch import Alert, Calibrator

if (reason := _native.refusal()) is not None:
    pytest.skip(f"no compiled module: it {reason}", allow_module_level=True)

Ring = _native.module().Ring
PICTURE = np.zeros((6, 8, 3), np.uint8)
F = np.zeros((2, 3, 8, 8), np.float32)
X = np.zeros(5)


def _alert(threshold: Any) -> Alert:
    return Alert(
        threshold=threshold, clear_threshold=1.0, raise_count=1, raise_window=1, clear_count=1
    )


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: preprocess(PICTURE, size=(2, 2), format=None), "preprocess: format must be str, got None"),  # type: ignore[arg-type]
        (lambda: frame_score(F, F, patches=4), r"frame_score: patches must be \(int, int\) or None, got int 4"),  # type: ignore[arg-type]
        (lambda: frame_score(F, F, out=4), "frame_score: out must be a dict of arrays by their names, or None, got int"),  # type: ignore[arg-type]
        (lambda: frame_score(F, F, n_threads=2**40), "frame_score: n_threads must be of 32 bits, .* got 1099511627776"),
        (lambda: gaussian(X, 15.0), "gaussian: n_taps must be int, got float 15.0"),  # type: ignore[arg-type]
        (lambda: Ring("2", 8, 8), "Ring: n_frames must be int, got str '2'"),
        (lambda: Ring(2), "Ring: height, width must be given, got n_frames"),
        (lambda: Ring(2, 8, 8, stride=3), "Ring: has no argument stride; it takes n_frames, height, width, stride_ns, tolerance_ns, device"),
        (lambda: Ring(2, 8, 8, 9), "Ring: must be given at most 3 arguments without their names, got 4; it takes n_frames, .*"),
        (lambda: Ring(2, 8, 8).commit(1.5), "Ring.commit: time_ns must be int, got float 1.5"),
        (lambda: Calibrator(max_excesses=1.5), "Calibrator: max_excesses must be int, got float 1.5"),  # type: ignore[arg-type]
        (lambda: Calibrator().push(X, frozen="no"), "Calibrator.push: frozen must be bool, got str 'no'"),  # type: ignore[arg-type]
        (lambda: Calibrator().restore("x"), "Calibrator.restore: saved must be bytes, got str 'x'"),  # type: ignore[arg-type]
        (lambda: _alert(None), "Alert: threshold must be float, got None"),
        (lambda: Chain(1, [Branch(0.5)]), r"Chain: branches must be a list of \(int, .*, got \[\(float 0.5, float 1.0, float 1.0, list\)\]"),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_an_argument_of_another_kind_is_a_type_error_in_one_sentence(
    call: Callable[[], Any], words: str
) -> None:
    with pytest.raises(TypeError, match=f"^{words}$"):
        call()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: preprocess(PICTURE, size=(0, 64)), r"preprocess: size must be \(height, width\) of at least 1 x 1, .* got \(0, 64\)"),
        (lambda: preprocess(PICTURE, size=(-1, 64)), r"preprocess: size must be .* got \(-1, 64\)"),
        (lambda: preprocess(PICTURE, size=64), "preprocess: size must be .* got 64"),  # type: ignore[arg-type]
        (lambda: preprocess(PICTURE, size=(1, 2, 3)), r"preprocess: size must be .* got \(1, 2, 3\)"),  # type: ignore[arg-type]
        (lambda: preprocess(PICTURE, size=(4, 4), out=np.zeros((2, 2, 3), np.uint8)), r"preprocess: out must be \[4, 4, 3\] as size says, .* got uint8 \[2, 2, 3\]"),
        (lambda: preprocess(PICTURE, size=(2, 2), crop=(0, 0, 64)), r"preprocess: crop must be \(x, y, width, height\) .*, got \(0, 0, 64\)"),  # type: ignore[arg-type]
        (lambda: preprocess([PICTURE], size=(2, 2), crop=[(0, 0, 9, 1)]), r"preprocess: crops\[0\] must lie in the picture of 8 x 6, .*"),
        (lambda: preprocess(PICTURE, size=(2, 2), crop=(0, 0, 9, 1)), "preprocess: crop must lie in the picture of 8 x 6, .* None is everything"),
        (lambda: preprocess(PICTURE[..., 0], size=(2, 2)), r"preprocess: picture must be \[H, W, 3\], got uint8 \[6, 8\]"),
        (lambda: preprocess(PICTURE[::-1], size=(2, 2)), r"preprocess: picture.pitch\[0\] .* got -24"),
        (lambda: frame_score(F, F, patches=(9, 1)), "frame_score: patches must be 1 x 1 to 8 x 8 cells, got 9 x 1"),
        (lambda: frame_score(F, F, predicted_range=(1, 1)), "frame_score: predicted_range must be finite and differ, .*"),
        (lambda: gaussian(X, -3), ".*n_taps must be odd and 1 ... 1023, got -3; pass 1"),
        (lambda: gaussian(X, 14), ".*got 14; pass 15"),
        (lambda: median(X, 1025), ".*length must be odd and 1 ... 1023, got 1025; pass 1023"),
        (lambda: minmax(torch.zeros(3, dtype=torch.float64, requires_grad=True)), r"minmax: x must be .* got a Tensor that refuses .* pass x.detach\(\)"),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_right_is_named_as_python_names_it(
    call: Callable[[], Any], words: str
) -> None:
    with pytest.raises(ValueError, match=f"^{words}$"):
        call()


def test_size_and_out_that_agree_are_taken() -> None:
    out = np.ones((2, 2, 3), np.uint8)
    assert preprocess(PICTURE, size=(2, 2), out=out) is out
    assert (out == 0).all()


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_state_is_any_bytes(kind: Callable[[bytes], Any]) -> None:
    learner = Calibrator()
    learner.push(np.linspace(0.0, 1.0, 10_001))
    other = Calibrator()
    other.restore(kind(learner.save()))
    assert other.save() == learner.save()
    with pytest.raises(ValueError, match="saved must be bytes"):
        other.restore(memoryview(learner.save())[::2])


def test_a_function_speaks_once_however_often_the_module_is_loaded() -> None:
    before = _native.module().Ring.slot, _native.module().minmax
    _native._load.cache_clear()
    assert before == (_native.module().Ring.slot, _native.module().minmax)
