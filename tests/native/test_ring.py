"""``_C.Ring`` against a model in Python's integers, which have no end: what is kept, what is in the window, and whose memory it is."""

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from vadfast_kernels import _native
from vadfast_kernels.preprocess.native import preprocess

if (reason := _native.refusal()) is not None:
    pytest.skip(f"no compiled module: it {reason}", allow_module_level=True)

MS = 1_000_000
LEAST, MOST = -(2**63), 2**63 - 1


def _ring(*args: Any, **options: Any) -> Any:
    return _native.module().Ring(*args, **options)


class Model:
    """The rules of ring.h, as they are written."""

    def __init__(self, n_frames: int, stride_ns: int, tolerance_ns: int) -> None:
        self.n_frames, self.stride_ns, self.tolerance_ns = n_frames, stride_ns, tolerance_ns
        self.kept: list[int] = []
        self.last: int | None = None
        self.due = 0

    def commit(self, time_ns: int, number: int) -> tuple[str, list[int] | None]:
        what = self._what(time_ns) if self.stride_ns > 0 else "kept"
        if what == "early":
            return what, None
        if what == "reset":
            self.kept = []
        self.kept = [*self.kept, number][-self.n_frames :]
        full = len(self.kept) == self.n_frames
        if what == "kept":
            what = "window" if full else "warming"
        return what, list(self.kept) if full else None

    def _what(self, time_ns: int) -> str:
        first = self.last is None
        broken = not first and (time_ns < self.last or time_ns > self.due + self.stride_ns)
        self.last = time_ns
        if first or broken:
            self.due = time_ns + self.stride_ns
            return "reset" if broken else "kept"
        if time_ns < self.due - self.tolerance_ns:
            return "early"
        self.due = max(self.due + self.stride_ns, time_ns + self.tolerance_ns)
        return "kept"


def _agree(n_frames: int, stride_ns: int, tolerance_ns: int, times: list[int]) -> None:
    ring = _ring(n_frames, 2, 3, stride_ns=stride_ns, tolerance_ns=tolerance_ns)
    model = Model(n_frames, stride_ns, tolerance_ns)
    for i, time in enumerate(times):
        ring.slot()[...] = i % 256
        what, window = ring.commit(time)
        wanted, numbers = model.commit(time, i % 256)
        assert what == wanted
        assert (window is None) == (numbers is None)
        if window is not None:
            assert window.shape == (n_frames, 2, 3, 3)
            assert window.flags.c_contiguous
            assert (window == np.array(numbers).reshape(-1, 1, 1, 1)).all()


@settings(max_examples=200, deadline=None)
@given(
    n_frames=st.integers(1, 6),
    tolerance=st.integers(0, 100),
    steps=st.lists(st.one_of(st.integers(0, 130), st.integers(-50, 400)), max_size=60),
)
def test_any_clock(n_frames: int, tolerance: int, steps: list[int]) -> None:
    _agree(n_frames, 100, tolerance, np.cumsum([0, *steps]).tolist())


@settings(max_examples=100, deadline=None)
@given(
    stride=st.sampled_from([0, 1, 100, MOST - 1, MOST]),
    times=st.lists(
        st.one_of(
            st.sampled_from([LEAST, LEAST + 1, LEAST + 100, -1, 0, 1, MOST - 100, MOST - 1, MOST]),
            st.integers(LEAST, MOST),
        ),
        max_size=12,
    ),
)
@example(stride=MOST, times=[LEAST, MOST])
@example(stride=100, times=[LEAST, MOST - 1, MOST, MOST])
def test_the_ends_of_time(stride: int, times: list[int]) -> None:
    """A due time may lie beyond the ends of int64: it is then one that never comes."""
    _agree(2, stride, min(stride, 40), times)


def test_25_frames_a_second_into_10() -> None:
    ring = _ring(5, 1, 1, stride_ns=100 * MS, tolerance_ns=50 * MS)
    kept = [i * 40 for i in range(26) if ring.commit(i * 40 * MS)[0] != "early"]
    assert kept == [0, 80, 160, 280, 360, 480, 560, 680, 760, 880, 960]
    assert kept[-1] - kept[0] < 10 * 100 + 50


def test_a_day_has_as_many_frames_as_strides() -> None:
    ring = _ring(1, 1, 1, stride_ns=100 * MS, tolerance_ns=50 * MS)
    interval = 33_366_700  # 29.97 frames a second
    n = sum(ring.commit(i * interval)[0] != "early" for i in range(200_000))
    assert abs(n - 200_000 * interval / (100 * MS)) <= 1


def test_no_frame_is_copied_to_be_handed_out() -> None:
    ring = _ring(3, 4, 5)
    slots = []
    for i in range(3):
        slots.append(ring.slot())
        slots[-1][...] = i
        _, window = ring.commit(i)
    for i, slot in enumerate(slots):
        assert np.shares_memory(window[i], slot)
        slot[...] = 50 + i
    assert window[:, 0, 0, 0].tolist() == [50, 51, 52]


def test_views_outlive_the_ring() -> None:
    ring = _ring(2, 300, 300)
    for i in range(2):
        ring.slot()[...] = i
        _, window = ring.commit(i)
    slot, gone = ring.slot(), weakref.ref(ring)
    del ring
    gc.collect()
    slot[...] = 9
    assert window[:, 299, 299, 2].tolist() == [0, 1]
    assert gone() is not None
    del slot, window
    gc.collect()
    assert gone() is None


def test_pictures_go_straight_into_the_slot() -> None:
    ring = _ring(1, 8, 8)
    picture = np.random.default_rng(0).integers(0, 256, (24, 32), dtype=np.uint8)
    preprocess(picture, format="nv12", out=ring.slot())
    what, window = ring.commit(0)
    assert what == "window"
    np.testing.assert_array_equal(window[0], preprocess(picture, format="nv12", size=(8, 8)))


def test_after_a_reset_the_window_is_new() -> None:
    ring = _ring(2, 1, 1, stride_ns=100)
    assert [ring.commit(t)[0] for t in (0, 100)] == ["warming", "window"]
    ring.reset()
    assert [ring.commit(t)[0] for t in (50, 150)] == ["warming", "window"]
    assert (ring.n_frames, ring.height, ring.width) == (2, 1, 1)


@pytest.mark.parametrize(
    ("args", "options", "error", "words"),
    [
        ((0, 1, 1), {}, ValueError, "n_frames, height and width must be at least 1, got 0, 1, 1"),
        ((1, -5, 1), {}, ValueError, "got 1, -5, 1"),
        ((1, 1, 1), {"stride_ns": -1}, ValueError, "stride_ns must be at least 0, got -1"),
        ((1, 1, 1), {"stride_ns": 5, "tolerance_ns": 6}, ValueError, "from 0 to stride_ns = 5, got 6"),
        ((1, 1, 1), {"device": "tpu"}, ValueError, "cpu or cuda, got tpu"),
        ((2**31 - 1, 2**31 - 1, 2**31 - 1), {}, MemoryError, "more bytes than"),
        ((2**19, 2**20, 2**20), {}, MemoryError, "no room for 5188146770730811392 bytes"),
        ((2**31, 1, 1), {}, TypeError, "n_frames must be of 32 bits, .* got 2147483648"),
    ],
)  # fmt: skip
def test_bad_input(args: Any, options: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        _ring(*args, **options)


SIZES = st.one_of(st.integers(-(2**31), 2**31 - 1), st.sampled_from([0, 1, 2, 2**30, 2**31 - 1]))


@settings(max_examples=200, deadline=None)
@given(n_frames=SIZES, height=SIZES, width=SIZES, stride=st.integers(LEAST, MOST))
def test_any_sizes_are_refused_or_there(
    n_frames: int, height: int, width: int, stride: int
) -> None:
    try:
        ring = _ring(n_frames, height, width, stride_ns=stride)
    except (ValueError, MemoryError) as error:
        words = str(error)
    else:
        words = "a ring"
        assert min(n_frames, height, width) >= 1
        assert stride >= 0
        assert ring.slot().shape == (height, width, 3)
        assert ring.slot()[-1, -1, -1] == 0
    assert words.startswith(("a ring", "vad_ring_create"))


def test_threads_may_share_a_ring() -> None:
    ring = _ring(3, 64, 64)

    def commits(_: int) -> int:
        return sum(ring.commit(0)[0] == "window" for _ in range(1000))

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(commits, range(4))) == 4000 - 2


def test_without_cuda_a_ring_there_is_refused() -> None:
    if _native.module().build_info()["cuda"] is not None and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(RuntimeError, match=r"vad_ring_create: .*CUDA"):
        _ring(1, 1, 1, device="cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU")
def test_windows_on_cuda_are_those_of_the_host() -> None:
    here, there = _ring(3, 6, 7), _ring(3, 6, 7, device="cuda")
    stream = torch.cuda.current_stream().cuda_stream
    random = np.random.default_rng(0)
    for i in range(40):
        picture = random.integers(0, 256, (9, 11, 3), dtype=np.uint8)
        preprocess(picture, out=here.slot())
        preprocess(torch.from_numpy(picture).cuda(), out=there.slot(), stream=stream)
        (what, wanted), (what_there, window) = here.commit(i), there.commit(i, stream)
        assert what == what_there
        assert (wanted is None) == (window is None)
        if wanted is not None:
            found = torch.from_dlpack(window)
            assert found.device.type == "cuda"
            np.testing.assert_array_equal(found.cpu().numpy(), wanted)
