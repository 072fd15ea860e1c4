"""A result where something is still to be read, or where another result goes, is refused before anything is written."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from vadfast_kernels import _native
from vadfast_kernels.frame_score.native import frame_score
from vadfast_kernels.preprocess.native import preprocess

if (reason := _native.refusal()) is not None:
    pytest.skip(f"no compiled module: it {reason}", allow_module_level=True)

PICTURE = np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3)
NV12 = np.arange(96 * 64, dtype=np.uint8).reshape(96, 64)
SMALL = np.zeros((4, 4, 3), np.uint8)
FRAMES = np.zeros((2, 3, 8, 8), np.float32)
TRUTH = np.ones((2, 3, 8, 8), np.float32)
WEIGHT = np.ones((2, 2, 2), np.float32)
Q = np.zeros(2)


def _inside(x: np.ndarray, n: int) -> np.ndarray:
    """n float64 in the memory of ``x``, from its second half on."""
    values = x.reshape(-1).view(np.float64)
    return values[len(values) // 2 :][:n]


@pytest.mark.parametrize(
    ("call", "touched", "words"),
    [
        (lambda: preprocess(PICTURE, out=PICTURE[32:]), PICTURE, r"^preprocess: out must not overlap picture, .* in its plane 0"),
        (lambda: preprocess(PICTURE, out=PICTURE), PICTURE, "out must not overlap picture"),
        (lambda: preprocess(NV12, format="nv12", out=NV12[80:].reshape(-1)[:48].reshape(4, 4, 3)), NV12, "out must not overlap picture, .* in its plane 1"),
        (lambda: preprocess([PICTURE, PICTURE], out=[SMALL, SMALL]), SMALL, r"outs\[1\] must not overlap outs\[0\]"),
        (lambda: frame_score(FRAMES, TRUTH, out={"psnr_db": Q, "error": Q}), Q, r"^frame_score: out\.psnr_db must not overlap out\.error"),
        (lambda: frame_score(FRAMES, TRUTH, out={"error": _inside(FRAMES, 2)}), FRAMES, r"out\.error must not overlap predicted"),
        (lambda: frame_score(FRAMES, TRUTH[..., ::-1], out={"error": _inside(TRUTH, 2)}), TRUTH, r"out\.error must not overlap truth"),
        (lambda: frame_score(FRAMES, TRUTH, weight=WEIGHT, out={"worst": _inside(WEIGHT, 2)}, patches=(1, 1)), WEIGHT, r"out\.worst must not overlap weight"),
    ],
)  # fmt: skip
def test_overlapping_results_are_refused(
    call: Callable[[], Any], touched: np.ndarray, words: str
) -> None:
    before = touched.copy()
    with pytest.raises(ValueError, match=words):
        call()
    np.testing.assert_array_equal(touched, before)


def test_tiles_between_each_others_rows_are_no_overlap() -> None:
    mosaic = np.zeros((8, 12, 3), np.uint8)
    tiles = [mosaic[:4, :6], mosaic[:4, 6:], mosaic[4:, 2:8], mosaic[4:, 8:]]
    preprocess([PICTURE] * 4, out=tiles)
    for tile in tiles:
        np.testing.assert_array_equal(tile, preprocess(PICTURE, size=tile.shape[:2]))
    with pytest.raises(ValueError, match=r"outs\[1\] must not overlap outs\[0\]"):
        preprocess([PICTURE] * 2, out=[mosaic[:4, :7], mosaic[3:, 6:]])


def test_results_beside_the_frames_in_one_piece_of_memory_are_taken() -> None:
    room = np.zeros(FRAMES.size // 2 + 4)
    predicted = room[4:].view(np.float32).reshape(FRAMES.shape)
    found = frame_score(predicted, TRUTH, out={"error": room[:2], "psnr_db": room[2:4]})
    np.testing.assert_array_equal(found.error, [1.0, 1.0])
    np.testing.assert_array_equal(room[2:4], [0.0, 0.0])
