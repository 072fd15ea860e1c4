"""``_C.frame_score`` against the NumPy reference: every dtype, layout and grid, the same bits for any number of threads, every refusal."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vadfast_kernels import _native
from vadfast_kernels.frame_score.native import Scores, frame_score
from vadfast_kernels.frame_score.reference import frame_score as reference

if (reason := _native.refusal()) is not None:
    pytest.skip(f"no compiled module: it {reason}", allow_module_level=True)

DTYPES = ("uint8", "float16", "bfloat16", "float32")
RANGES = {"uint8": (0.0, 255.0), "float32": (-1.0, 1.0), "float16": (0.0, 1.0), "bfloat16": (-1.0, 1.0)}  # fmt: skip
# A difference of numbers up to 1 is off by five roundings of float32, its square by twice that times its size; sums of eight in float32.
DIFFERENCE, SUM = 5 * 2.0**-24, 8 * 2.0**-24


class Bfloat16:
    """An array of bfloat16 for who speaks DLPack: NumPy has none, and torch is not asked here for more than the capsule."""

    def __init__(self, values: np.ndarray) -> None:
        import torch

        self.bits = (values.view(np.uint32) >> 16).astype(np.uint16)  # cut, in its own memory order
        self.tensor = torch.from_numpy(self.bits.view(np.int16)).view(torch.bfloat16)

    def __dlpack__(self, **options: Any) -> Any:
        return self.tensor.__dlpack__(**options)

    def floats(self) -> np.ndarray:
        return (self.bits.astype(np.uint32) << 16).view(np.float32)


def _frames(shape: tuple[int, ...], dtype: str, layout: str, seed: int) -> Any:
    """Random frames [n, C, H, W] in a range's values, in planes, in pixels, or as every second column of something wider."""
    n, c, h, w = shape
    random = np.random.default_rng(seed)
    black, white = RANGES[dtype]
    made = {"planes": (n, c, h, w), "pixels": (n, h, w, c), "sparse": (n, c, h, 2 * w)}[layout]
    values = random.uniform(black, white, made).astype("float32" if dtype == "bfloat16" else dtype)
    if layout == "pixels":
        values = values.transpose(0, 3, 1, 2)
    elif layout == "sparse":
        values = values[:, :, ::-1, ::2] if dtype != "bfloat16" else values[:, :, :, ::2]
    return Bfloat16(values) if dtype == "bfloat16" else values


def _numbers(frames: Any) -> np.ndarray:
    return frames.floats() if isinstance(frames, Bfloat16) else frames


def _allowed(error: np.ndarray) -> np.ndarray:
    return SUM * error + 2 * DIFFERENCE * np.sqrt(error) + DIFFERENCE**2


def _close(found: Scores, wanted: tuple[np.ndarray, ...]) -> None:
    for name, mine, true in zip(Scores._fields, found, wanted, strict=True):
        allowed = _allowed(true)
        if name == "psnr_db":  # its derivative by the error is 10 / ln 10 over that
            error = wanted[0]
            allowed = 4.4 * _allowed(error) / np.maximum(error, 1e-10) + 1e-12
        assert (np.abs(mine - true) <= allowed).all(), f"{name}: {mine}, should be {true}"


SIDE = st.integers(1, 40)


@st.composite
def _cases(draw: st.DrawFn) -> dict[str, Any]:
    shape = (draw(st.integers(1, 3)), draw(st.sampled_from([1, 2, 3, 4])), draw(SIDE), draw(SIDE))

    def grid() -> tuple[int, int]:
        return draw(st.integers(1, shape[2])), draw(st.integers(1, shape[3]))

    layouts = st.sampled_from(["planes", "pixels", "sparse"])
    return {
        "shape": shape,
        "dtypes": (draw(st.sampled_from(DTYPES)), draw(st.sampled_from(DTYPES))),
        "layouts": (draw(layouts), draw(layouts)),
        "patches": grid(),
        "heatmap": grid(),
        "weight": grid() if draw(st.booleans()) else None,
        "seed": draw(st.integers(0, 999)),
    }


@given(_cases())
@settings(max_examples=250, deadline=None)
def test_every_layout_dtype_and_grid_is_the_formula(case: dict[str, Any]) -> None:
    shape, seed = case["shape"], case["seed"]
    frames = [_frames(shape, d, w, seed + i) for i, (d, w) in enumerate(zip(case["dtypes"], case["layouts"], strict=True))]  # fmt: skip
    weight = None
    if case["weight"] is not None:
        weight = np.random.default_rng(seed).random((shape[0], *case["weight"]), np.float32)
    options = {
        "predicted_range": RANGES[case["dtypes"][0]],
        "truth_range": RANGES[case["dtypes"][1]],
        "weight": weight,
        "patches": case["patches"],
        "heatmap": case["heatmap"],
    }
    found = frame_score(*frames, **options)
    _close(found, reference(*(_numbers(f) for f in frames), **options))
    for n_threads in (2, 7):
        again = frame_score(*frames, **options, n_threads=n_threads)
        assert all(np.array_equal(x, y) for x, y in zip(found, again, strict=True))


@pytest.mark.parametrize("layouts", [("planes", "pixels"), ("pixels", "pixels"), ("pixels", "planes")], ids=str)  # fmt: skip
@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("width", [683, 2050])
def test_rows_that_are_read_in_parts(layouts: tuple[str, str], channels: int, width: int) -> None:
    shape = (1, channels, 19, width)
    frames = [_frames(shape, d, w, i) for i, (d, w) in enumerate(zip(("float32", "uint8"), layouts, strict=True))]  # fmt: skip
    weight = np.random.default_rng(3).random((1, 3, 77), np.float32)
    options = {
        "predicted_range": (-1.0, 1.0), "truth_range": (0.0, 255.0), "weight": weight,
        "patches": (4, 3), "heatmap": (6, 650),
    }  # fmt: skip
    _close(frame_score(*frames, **options), reference(*frames, **options))


def test_the_bits_do_not_depend_on_the_layout() -> None:
    predicted, truth = _frames((2, 3, 21, 50), "float32", "planes", 0), _frames((2, 3, 21, 50), "uint8", "planes", 1)  # fmt: skip
    options = {"predicted_range": (-1.0, 1.0), "patches": (4, 4), "heatmap": (7, 9)}
    wanted = frame_score(predicted, truth, **options)

    def pixels(x: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)

    for frames in ((predicted, pixels(truth)), (pixels(predicted), pixels(truth)), (pixels(predicted), truth)):  # fmt: skip
        assert all(
            np.array_equal(x, y)
            for x, y in zip(frame_score(*frames, **options), wanted, strict=True)
        )


def test_a_black_and_a_white_frame_are_as_far_apart_as_can_be() -> None:
    truth = np.full((1, 3, 5, 7), 255, np.uint8)
    found = frame_score(np.full((1, 3, 5, 7), -1, np.float32), truth, predicted_range=(-1, 1))
    assert found.error[0] == 1.0
    assert found.psnr_db[0] == 0.0
    assert (found.channel == 1.0).all()
    assert found.worst is None
    assert found.heatmap is None


@pytest.mark.parametrize("dtype", DTYPES)
def test_equal_frames_reach_the_ceiling(dtype: str) -> None:
    frames = _frames((2, 3, 9, 11), dtype, "planes", 0)
    found = frame_score(frames, frames, predicted_range=RANGES[dtype], truth_range=RANGES[dtype], patches=(2, 2))  # fmt: skip
    assert (found.error == 0).all()
    assert (found.worst == 0).all()
    np.testing.assert_allclose(found.psnr_db, 100.0, rtol=1e-14)


def test_decibels_are_those_of_the_c_library() -> None:
    # One pixel, so that its error can be any: down to the floor and beyond it, and up to where squares end.
    predicted = np.logspace(-7, 18, 400, dtype=np.float32).reshape(-1, 1, 1, 1)
    found = frame_score(predicted, np.zeros_like(predicted))
    np.testing.assert_allclose(
        found.psnr_db, -10 * np.log10(np.maximum(found.error, 1e-10)), rtol=1e-14, atol=1e-14
    )


def test_every_float16_is_read_as_what_it_is() -> None:
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)].reshape(-1, 1, 1, 1)
    found = frame_score(halves, np.zeros(halves.shape, np.float32), heatmap=(1, 1))
    np.testing.assert_array_equal(found.heatmap[:, 0, 0], np.square(halves[:, 0, 0, 0].astype(np.float32)))  # fmt: skip


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("weighted", [False, True])
def test_what_is_not_finite_stays_in_its_frame(value: float, dtype: str, weighted: bool) -> None:
    predicted, truth = np.zeros((3, 2, 16, 24), dtype), np.zeros((3, 2, 16, 24), np.uint8)
    predicted[1, 1, 5, 7] = value
    # A negative weight makes the error -inf: neither the ceiling of PSNR nor a good patch.
    weight = np.full((3, 1, 1), -1, np.float32) if weighted else None
    found = frame_score(predicted, truth, weight=weight, patches=(2, 2), heatmap=(4, 4))
    for name in ("error", "psnr_db", "worst"):
        assert np.isfinite(getattr(found, name)).tolist() == [True, False, True], name
    assert np.isfinite(found.channel).tolist() == [[True, True], [True, False], [True, True]]
    assert np.argwhere(~np.isfinite(found.heatmap)).tolist() == [[1, 1, 1]]


def test_a_weight_that_is_not_finite_stays_in_its_frame() -> None:
    frames = np.full((2, 1, 4, 4), 0.5, np.float32)
    weight = np.ones((2, 2, 2), np.float32)
    weight[0, 0, 1] = np.nan
    found = frame_score(frames, 0 * frames, weight=weight)
    assert np.isfinite(found.error).tolist() == [False, True]


def test_results_go_where_the_caller_wants_and_no_others_are_made() -> None:
    predicted, truth = _frames((3, 3, 8, 9), "float32", "planes", 0), _frames((3, 3, 8, 9), "uint8", "pixels", 1)  # fmt: skip
    out = {"psnr_db": np.empty(3), "heatmap": np.empty((3, 4, 5), np.float32)}
    found = frame_score(predicted, truth, heatmap=(4, 5), out=out)
    assert found.psnr_db is out["psnr_db"]
    assert found.heatmap is out["heatmap"]
    assert found.error is found.channel is found.worst is None
    whole = frame_score(predicted, truth, patches=(2, 2), heatmap=(4, 5))
    # Rows are added within the cells of every grid that is asked for: another grid is another order, and nothing more.
    np.testing.assert_allclose(out["psnr_db"], whole.psnr_db, rtol=1e-7)
    np.testing.assert_allclose(out["heatmap"], whole.heatmap, rtol=1e-6)


def test_no_frames_are_nothing_to_do() -> None:
    found = frame_score(np.empty((0, 3, 8, 8), np.float32), np.empty((0, 3, 8, 8), np.uint8), heatmap=(2, 2))  # fmt: skip
    assert found.error.shape == (0,)
    assert found.heatmap.shape == (0, 2, 2)


F, U = np.zeros((2, 3, 6, 8), np.float32), np.zeros((2, 3, 6, 8), np.uint8)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: frame_score(F[0], U[0]), ValueError, r"predicted must be \[n, channels, height, width\], got float32 \[3, 6, 8\]"),
        (lambda: frame_score(F, U[:1]), ValueError, r"truth must be of the shape .* \[2, 3, 6, 8\], got uint8 \[1, 3, 6, 8\]"),
        (lambda: frame_score(F.astype(np.float64), U), TypeError, r"predicted must be uint8, float16, bfloat16 or float32, got float64"),
        (lambda: frame_score(F, U.astype(np.int8)), TypeError, r"truth must be uint8, .* got int8"),
        (lambda: frame_score("frames", U), TypeError, "frame_score: predicted must be an array"),
        (lambda: frame_score(F[:, :0], U[:, :0]), ValueError, "channels, height and width at least 1, .* got 2, 0, 6 and 8"),
        (lambda: frame_score(F, U, predicted_range=(1, 1)), ValueError, "^frame_score: predicted_range must be finite and differ, .* got 1 and 1"),
        (lambda: frame_score(F, U, truth_range=(0, np.inf)), ValueError, "^frame_score: truth_range must be finite and differ, .* got 0 and inf"),
        (lambda: frame_score(F, U, patches=(7, 1)), ValueError, "patches must be 1 x 1 to 6 x 8 cells, got 7 x 1"),
        (lambda: frame_score(F, U, patches=(1, 9)), ValueError, "patches must be 1 x 1 to 6 x 8 cells, got 1 x 9"),
        (lambda: frame_score(F, U, heatmap=(0, 1)), ValueError, "heatmap must be 1 x 1 to 6 x 8 cells, got 0 x 1"),
        (lambda: frame_score(F, U, heatmap=(-1, 1)), ValueError, "heatmap must be 1 x 1 to 6 x 8 cells, got -1 x 1"),
        (lambda: frame_score(F, U, weight=np.ones((2, 7, 1), np.float32)), ValueError, "weight must be 1 x 1 to 6 x 8 cells, got 7 x 1"),
        (lambda: frame_score(F, U, weight=np.ones((1, 2, 2), np.float32)), ValueError, r"weight must be \[2, rows, columns\], got float32 \[1, 2, 2\]"),
        (lambda: frame_score(F, U, weight=np.ones((2, 2, 4), np.float32)[..., ::2]), ValueError, "weight must be contiguous"),
        (lambda: frame_score(F, U, n_threads=0), ValueError, "n_threads must be at least 1, got 0"),
        (lambda: frame_score(F, U, out={"error": np.empty(3)}), ValueError, r"out.error must be \[2\], got float64 \[3\]"),
        (lambda: frame_score(F, U, out={"psnr": np.empty(2)}), ValueError, "out must be a dict of error, psnr_db, .* got the key psnr"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(
    call: Callable[[], Scores], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        call()


def test_a_grid_has_at_most_so_many_columns() -> None:
    most = _native.module().MAX_GRID_COLUMNS
    wide = np.zeros((1, 1, 1, most + 1), np.uint8)
    assert (frame_score(wide, wide, heatmap=(1, most)).heatmap == 0).all()
    with pytest.raises(ValueError, match=f"heatmap must be 1 x 1 to 1 x {most} cells"):
        frame_score(wide, wide, heatmap=(1, most + 1))


def test_misaligned_values_and_untouched_results() -> None:
    bytes_ = np.zeros(4 * F.size + 4, np.uint8)
    crooked = bytes_[1:-3].view(np.float32).reshape(F.shape)
    out = {"error": np.full(2, 7.0), "channel": np.full((2, 3), 7.0)}
    with pytest.raises(
        ValueError, match=r"predicted\.data must point to values aligned to 4 bytes"
    ):
        frame_score(crooked, U, out=out)
    with pytest.raises(ValueError, match="n_threads"):
        frame_score(F, U, out=out, n_threads=-1)
    assert all((x == 7.0).all() for x in out.values())


def test_reading_only_results_are_refused() -> None:
    fixed = np.empty(2)
    fixed.flags.writeable = False
    with pytest.raises(ValueError, match=r"out\.error must be writable"):
        frame_score(F, U, out={"error": fixed})


def test_other_threads_run_meanwhile() -> None:
    """The GIL is free during the call: another thread gets on in the middle of it, and not only before and behind."""
    import threading
    import time

    big = np.zeros((128, 3, 256, 256), np.uint8)

    def gets_on() -> bool:
        call, done, seen = [0.0, 0.0], threading.Event(), []

        def work() -> None:
            call[0] = time.perf_counter()
            frame_score(big, big)
            call[1] = time.perf_counter()
            done.set()

        thread = threading.Thread(target=work)
        thread.start()
        while not done.is_set():
            seen.append(time.perf_counter())
        thread.join()
        margin = (call[1] - call[0]) / 4
        return any(call[0] + margin < at < call[1] - margin for at in seen)

    # On a busy machine a call may be over before this thread has a CPU.
    assert any(gets_on() for _ in range(20))
