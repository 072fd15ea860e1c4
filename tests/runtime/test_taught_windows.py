"""Windows with teachers' pictures: the same bytes in the session, at compile time and in training, and nothing new without teachers."""

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest

from tests.compile.tiny import FilmSource
from vadfast.compile.calibrate import score_normal
from vadfast.compile.windows import PlannedRun, Tail, plan_runs, read_run
from vadfast.data.datasets import Video
from vadfast.data.store import open_store
from vadfast.data.taught import open_taught
from vadfast.errors import SourceError, UsageError
from vadfast.evaluate import strips
from vadfast.runtime.engine import Outputs
from vadfast.runtime.manifest import InputSpec
from vadfast.runtime.preprocess import Preprocess
from vadfast.runtime.session import raw_scores
from vadfast.runtime.source import FolderSource
from vadfast.teachers.pictures import Pictures, TeacherCost
from vadfast.teachers.settings import Masks, TeacherSettings

SPEC = InputSpec(n_frames=3, height=32, width=32, teachers=TeacherSettings())


def _images(n: int) -> np.ndarray:
    """A square that wanders over noise, [n, 40, 48, 3]: larger than the model's input."""
    rng = np.random.default_rng(0)
    images = np.repeat(rng.integers(60, 120, (1, 40, 48, 3), dtype=np.uint8), n, axis=0)
    for t, image in enumerate(images):
        image[10:22, 3 * t % 30 : 3 * t % 30 + 10] = (230, 40, 40)
    return images


@dataclass
class Recorder:
    """An engine that keeps the windows it is given."""

    batch: int
    backend: str = "recorder"
    precision: str = "fp32"
    windows: list[np.ndarray] = field(default_factory=list)

    def __call__(self, frames: np.ndarray) -> Outputs:
        self.windows.append(frames.copy())
        return Outputs(
            np.zeros((self.batch, 1), np.float32), np.zeros((self.batch, 1, 1), np.float32)
        )

    def close(self) -> None: ...


def _windows_of(
    spec: InputSpec, source: FilmSource, batch: int = 2, *, first: int = 0
) -> np.ndarray:
    engine = Recorder(batch)
    n = sum(1 for _ in raw_scores(engine, spec, source, first=first))
    return np.concatenate(engine.windows)[:n]


def test_the_session_puts_the_pictures_of_the_newest_frame_behind_the_frames() -> None:
    images, cost = _images(11), TeacherCost()
    preprocess, teach = Preprocess(SPEC), Pictures(SPEC.teachers or TeacherSettings(), Path("film"))
    seen = np.stack([preprocess(image) for image in images])
    taught = np.stack([teach(image, t) for t, image in enumerate(seen)])
    assert taught[5:, 1, ..., 2].any(), "something moves"
    windows = _windows_of(SPEC, FilmSource("film", images))
    assert windows.shape == (9, 5, 32, 32, 3) == (9, SPEC.n_pictures, 32, 32, 3)
    for i, window in enumerate(windows):
        np.testing.assert_array_equal(window[:3], seen[i : i + 3])
        np.testing.assert_array_equal(window[3:], taught[i + 2])
    list(raw_scores(Recorder(1), SPEC, FilmSource("film", images), cost=cost))
    assert cost.n_frames == 11


@pytest.mark.parametrize("first", [0, 5])
def test_the_windows_of_a_tail_are_those_of_the_whole_film(first: int) -> None:
    """Teachers that start in mid-film would see no flow and no background there, as no scored film has it."""
    source = FilmSource("film", _images(14))
    whole = _windows_of(SPEC, source)
    np.testing.assert_array_equal(_windows_of(SPEC, source, first=first), whole[first:])
    engine = Recorder(2)
    (part,) = score_normal(engine, SPEC, [Tail(source, first)], MagicMock())
    assert len(part) == 12 - first
    np.testing.assert_array_equal(np.concatenate(engine.windows)[: len(part)], whole[first:])
    (plan,) = plan_runs([], [Tail(source, first)], window=3, n_windows=1)
    run = read_run(plan, SPEC)
    assert run is not None
    found = np.concatenate(list(run.windows()))
    np.testing.assert_array_equal(found, whole[plan.first - 2 : plan.first - 2 + len(run)])


def test_without_teachers_no_frame_before_a_tail_is_looked_at() -> None:
    plain = SPEC.model_copy(update={"teachers": None})
    images = _images(9)
    whole = _windows_of(plain, FilmSource("film", images))
    np.testing.assert_array_equal(
        _windows_of(plain, FilmSource("film", images), first=4), whole[4:]
    )
    with pytest.raises(SourceError, match=r"at least 3 frames from frame 7 on .* got 2"):
        _windows_of(plain, FilmSource("film", images), first=7)


def test_the_strips_of_the_worst_frames_are_scored_as_the_session_did() -> None:
    source = FilmSource("film", _images(12))
    engine = Recorder(2)
    subject: Any = SimpleNamespace(input=SPEC, engine=engine)
    strip = strips._read(subject, Video("film", source), strips.Pick(0, 9, 7, 0.0))
    session = _windows_of(SPEC, source)
    np.testing.assert_array_equal(strip.window, session[7])
    np.testing.assert_array_equal(engine.windows[0], np.stack([session[7]] * 2))


def test_without_teachers_a_window_is_its_frames_alone_and_a_view() -> None:
    plain = SPEC.model_copy(update={"teachers": None})
    assert plain.n_pictures == 3
    assert _windows_of(plain, FilmSource("film", _images(8))).shape == (6, 3, 32, 32, 3)
    run = read_run(PlannedRun(FilmSource("film", _images(8)), 2, 6, None), plain)
    assert run is not None
    assert run.window(1).base is not None
    assert InputSpec.model_validate({"n_frames": 3, "height": 8, "width": 8}).teachers is None


@pytest.fixture
def films(tmp_path: Path) -> list[Video]:
    import cv2

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for t, image in enumerate(_images(9)):
            cv2.imwrite(str(tmp_path / name / f"{t}.png"), image)
    return [Video(name, FolderSource(tmp_path / name)) for name in ("a", "b")]


def _open(films: list[Video], settings: TeacherSettings) -> tuple[np.ndarray, TeacherCost]:
    store, cost = open_store(films, SPEC, progress=lambda *_: None), TeacherCost()
    taught = open_taught(films, store, SPEC, settings, progress=lambda *_: None, cost=cost)
    return taught, cost


def test_training_sees_what_the_session_sees_and_pays_for_it_once(films: list[Video]) -> None:
    taught, cost = _open(films, TeacherSettings())
    assert cost.n_frames == 18
    assert taught.shape == (18, 2, 32, 32, 3)
    for v, film in enumerate(films):
        windows = _windows_of(SPEC, film.source)  # type: ignore[arg-type]
        np.testing.assert_array_equal(taught[9 * v + 2 : 9 * v + 9], windows[:, 3:])
    again, free = _open(films, TeacherSettings())
    assert free.n_frames == 0
    np.testing.assert_array_equal(taught, again)
    _, anew = _open(films, TeacherSettings(flow_max_px=32))
    assert anew.n_frames == 18, "other settings, other pictures"


def test_the_cache_of_what_teachers_see_does_not_depend_on_where_one_stands(
    films: list[Video], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _open(films, TeacherSettings())
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    np.save(elsewhere / "of-nobody.npy", np.zeros(3))
    monkeypatch.chdir(elsewhere)
    _, again = _open(films, TeacherSettings())
    np.save(elsewhere / "more.npy", np.zeros(3))
    _, and_again = _open(films, TeacherSettings())
    assert (again.n_frames, and_again.n_frames) == (0, 0), "found in the cache"


def test_a_teacher_that_lacks_a_file_says_so_and_leaves_nothing(
    films: list[Video], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VADFAST_CACHE", str(tmp_path / "cache"))
    lacking = TeacherSettings(segmentation=Masks(folder=str(tmp_path)))
    np.save(tmp_path / "a.npy", np.zeros((9, 4, 4), bool))
    with pytest.raises(UsageError, match=r"segmentation: .* must hold b.npy"):
        _open(films, lacking)
    assert not list((tmp_path / "cache").rglob("taught/*"))
    with pytest.raises(UsageError, match=r"must hold b.npy"):
        list(
            raw_scores(Recorder(1), SPEC.model_copy(update={"teachers": lacking}), films[1].source)
        )
    # Changed masks are other pictures.
    np.save(tmp_path / "b.npy", np.zeros((9, 4, 4), bool))
    first, _ = _open(films, lacking)
    assert not first[:, 1, ..., 2].any()
    np.save(tmp_path / "b.npy", np.ones((9, 8, 8), bool))
    second, _ = _open(films, lacking)
    assert second[9:, 1, ..., 2].all()
