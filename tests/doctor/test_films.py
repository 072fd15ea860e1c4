"""The clips that stand for a camera: of its size, its bit rate, and gone afterwards."""

import pytest

from vadfast.doctor import films
from vadfast.doctor.films import film_cost, made_films
from vadfast.doctor.memory import camera_mb
from vadfast.runtime.manifest import InputSpec
from vadfast.runtime.session import N_BUFFERS
from vadfast.runtime.source import VideoSource


def test_the_clips_are_as_large_as_cameras_make_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(films, "CAMERAS", ((640, 360, 0.8),))
    with made_films() as made:
        (clip,) = made
        source = VideoSource(clip)
        assert (source.n_frames, source.fps) == (films.N_MADE, films.FPS)
        assert next(iter(source)).image.shape == (360, 640, 3)
        # Two seconds are short for an encoder to reach the rate that it is asked for.
        asked = 0.8e6 / 8 * films.N_MADE / films.FPS
        assert 0.4 * asked < clip.stat().st_size < 1.5 * asked
        cost = film_cost(clip, InputSpec(n_frames=2, height=16, width=24), made=True)
    assert not clip.exists()
    assert 0 < cost.prepare_cpu_ms < cost.decode_cpu_ms


def test_the_memory_of_a_camera_is_what_one_more_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(films, "CAMERAS", ((96, 64, 0.1), (1280, 720, 2.0)))
    small, large = InputSpec(n_frames=2, height=16, width=24), InputSpec(n_frames=8, height=512, width=512)  # fmt: skip
    with made_films() as (tiny, wide):
        little, much, wider = camera_mb(tiny, small), camera_mb(tiny, large), camera_mb(wide, small)
    windows = N_BUFFERS * 8 * 512 * 512 * 3 / 1e6
    assert 0 < little < 10
    # Beside the buffers there is the ring, of a window at least: more than what is only computed.
    assert windows * 4 / 3 < much < 3 * windows
    assert wider > little + 1280 * 720 * 3 / 1e6, "a picture, and what the decoder keeps"
