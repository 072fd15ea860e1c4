"""The cache of decoded frames: films as long as they are, and nothing found again that another decoder made."""

from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from vadfast.data import store as stores
from vadfast.data import synthetic
from vadfast.data.datasets import Dataset, Video
from vadfast.data.holdout import held_out, n_trained
from vadfast.data.store import FrameStore, open_store
from vadfast.errors import SourceError
from vadfast.runtime.manifest import InputSpec
from vadfast.runtime.source import VideoSource

SPEC = InputSpec(n_frames=3, height=16, width=16)


class _Declares(VideoSource):
    """A film whose container declares ``declared`` frames."""

    def __init__(self, path: Path, declared: int) -> None:
        super().__init__(path)
        self._declared = declared

    @property
    def n_frames(self) -> int | None:
        return self._declared


def _film(path: Path, n: int, level: int) -> Path:
    images = (np.full((16, 16, 3), level, np.uint8) for _ in range(n))
    synthetic.write_frames(path, images, 25)
    return path


def _open(*sources: VideoSource) -> FrameStore:
    videos = [Video(source.name, source) for source in sources]
    return open_store(videos, SPEC, progress=lambda *_: None)


def test_a_film_that_declares_a_little_too_much_is_as_long_as_it_is(tmp_path: Path) -> None:
    """The same films are trained on and scored: one that a session accepts is no error here."""
    films = [_Declares(_film(tmp_path / "a.mp4", 20, 200), 22)]
    films.append(_Declares(_film(tmp_path / "b.mp4", 10, 100), 10))
    for _ in ("written", "found"):
        store = _open(*films)
        assert store.offsets.tolist() == [0, 20, 30]
        assert store.frames.shape == (30, 16, 16, 3)
        np.testing.assert_allclose(
            store.frames.mean(axis=(1, 2, 3)), [200] * 20 + [100] * 10, atol=3
        )


def test_frames_beyond_the_declared_length_are_left_out_as_they_may_be_held_out(
    tmp_path: Path,
) -> None:
    film = _Declares(_film(tmp_path / "a.mp4", 40, 90), 30)
    store = _open(film)
    assert store.offsets.tolist() == [0, 30]
    videos = (Video("a", film),)
    ((_, first),) = held_out(Dataset("folder", tmp_path, videos, (), None), 0.3)
    assert n_trained(int(store.offsets[1]), 0.3) <= first


def test_a_film_that_is_cut_short_is_refused_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VADFAST_CACHE", str(tmp_path / "cache"))
    whole = _film(tmp_path / "a.mkv", 60, 90).read_bytes()
    (tmp_path / "b.mkv").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceError):
        _open(VideoSource(tmp_path / "a.mkv"), VideoSource(tmp_path / "b.mkv"))
    assert not [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]


def test_another_decoder_or_resizer_has_other_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = Video("a", VideoSource(_film(tmp_path / "a.mp4", 5, 90)))
    keys = [stores.key_of([video], SPEC)]
    assert stores.key_of([video], SPEC) == keys[0]
    for where, name, value in (
        (stores, "_VERSION", 0),
        (av, "library_versions", {"libavcodec": (1, 2, 3)}),
        (cv2, "__version__", "0"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(where, name, value)
            keys.append(stores.key_of([video], SPEC))
    assert len(set(keys)) == 4
