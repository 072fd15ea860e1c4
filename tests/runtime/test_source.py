"""Films are read frame by frame, and every fault comes as one sentence after the good frames."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vadfast.data.synthetic import write_frames
from vadfast.errors import SourceError, UsageError
from vadfast.runtime.manifest import InputSpec
from vadfast.runtime.preprocess import Preprocess
from vadfast.runtime.source import FolderSource, VideoSource, find_sources, read_image
from vadfast.runtime.window import Window


def _film(path: Path, n: int) -> Path:
    rng = np.random.default_rng(0)
    write_frames(path, (rng.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(n)), 10.0)
    return path


def test_a_video_gives_numbered_frames_and_their_times(tmp_path: Path) -> None:
    frames = list(VideoSource(_film(tmp_path / "a.mp4", 20)))
    assert [f.index for f in frames] == list(range(20))
    np.testing.assert_allclose([f.time_s for f in frames], np.arange(20) / 10, atol=1e-6)
    assert frames[0].image.shape == (48, 64, 3)


def test_a_truncated_video_gives_its_frames_then_the_fault(tmp_path: Path) -> None:
    whole = _film(tmp_path / "a.mkv", 60)
    cut = tmp_path / "cut.avi"
    import av

    with av.open(str(cut), "w", format="avi") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for frame in VideoSource(whole):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.image, format="rgb24")))
        container.mux(stream.encode(None))
    data = cut.read_bytes()
    cut.write_bytes(data[: len(data) // 2])
    seen: list[int] = []
    with pytest.raises(SourceError, match=r"cut\.avi.*(truncated|decoding stopped)"):
        seen.extend(frame.index for frame in VideoSource(cut))
    assert 10 < len(seen) < 50
    assert seen == list(range(len(seen)))


def test_what_is_no_video_is_said_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "bad.mp4"
    path.write_bytes(b"no film" * 100)
    source = VideoSource(path)
    assert source.n_frames is None
    with pytest.raises(SourceError, match=r"bad\.mp4: must be a video"):
        next(iter(source))


@pytest.mark.parametrize(
    ("stored", "seen"),
    [
        (np.full((4, 6), 9, np.uint8), (9, 9, 9)),
        (np.full((4, 6), 0x1234, np.uint16), (0x12, 0x12, 0x12)),
        (np.full((4, 6, 4), (1, 2, 3, 0), np.uint8), (3, 2, 1)),
        (np.full((4, 6, 3), (1, 2, 3), np.uint8), (3, 2, 1)),
    ],
    ids=["grey", "16-bit", "alpha", "colour"],
)
def test_images_of_every_kind_become_rgb(
    tmp_path: Path, stored: np.ndarray, seen: tuple[int, int, int]
) -> None:
    path = tmp_path / "x.png"
    cv2.imwrite(str(path), stored)
    image = read_image(path)
    assert image.shape == (4, 6, 3)
    assert tuple(image[0, 0]) == seen


def test_a_folder_is_in_natural_order_without_hidden_files(tmp_path: Path) -> None:
    for i in (10, 9, 1):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((4, 4, 3), i, np.uint8))
    (tmp_path / "._1.png").write_bytes(b"mac")
    (tmp_path / "Thumbs.db").write_bytes(b"windows")
    assert [int(f.image[0, 0, 0]) for f in FolderSource(tmp_path)] == [1, 9, 10]


def test_a_change_of_size_names_the_frame(tmp_path: Path) -> None:
    for i, size in enumerate(((4, 4), (4, 4), (5, 4))):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.zeros((*size, 3), np.uint8))
    frames = iter(FolderSource(tmp_path))
    assert [next(frames).index, next(frames).index] == [0, 1]
    with pytest.raises(SourceError, match=r"2\.png: must be 4x4 .* got 4x5"):
        next(frames)


def test_nothing_to_read_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        find_sources([tmp_path / "absent"])
    with pytest.raises(UsageError, match="must hold videos"):
        find_sources([tmp_path])


@given(st.integers(1, 6), st.integers(1, 25))
def test_a_window_is_the_last_frames_in_order(n_window: int, n_frames: int) -> None:
    window = Window(InputSpec(n_frames=n_window, height=1, width=2))
    for t in range(n_frames):
        view = window.push(np.full((1, 2, 3), t, np.uint8))
        if t < n_window - 1:
            assert view is None
        else:
            assert view is not None
            assert view.flags.c_contiguous
            assert view[:, 0, 0, 0].tolist() == list(range(t - n_window + 1, t + 1))


@pytest.mark.parametrize("size", [(48, 64), (16, 16), (8, 40)])
def test_preprocess_is_cv2_resize_to_the_bit(size: tuple[int, int]) -> None:
    image = np.random.default_rng(1).integers(0, 255, (48, 64, 3), np.uint8)
    spec = InputSpec(n_frames=5, height=size[0], width=size[1])
    out = np.zeros((*size, 3), np.uint8)
    Preprocess(spec)(image, out=out)
    wanted = cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(out, wanted)
    np.testing.assert_array_equal(Preprocess(spec)(image), wanted)


def test_without_pyav_the_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(SourceError, match=r"decoding needs PyAV, .*; pip install av"):
        list(VideoSource(tmp_path / "a.mp4"))
