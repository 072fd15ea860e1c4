"""The choice of windows: around label changes, spread over normal video, never outside it, right to the frame."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.compile.tiny import SPEC, FilmSource, film
from vadfast.compile.windows import RUN_LENGTH, PlannedRun, Tail, plan_runs, read_run
from vadfast.data.datasets import Video
from vadfast.errors import SourceError

T = SPEC.n_frames


def _video(labels: list[int], name: str = "v") -> Video:
    images = np.zeros((len(labels), 1, 1, 3), np.uint8)
    return Video(
        name=name, source=FilmSource(name, images), labels=np.array(labels, np.uint8), masks=None
    )


def _tail(n: int, first: int) -> Tail:
    return Tail(FilmSource(f"n{n}", np.zeros((n, 1, 1, 3), np.uint8)), first)


def test_labelled_runs_straddle_the_changes() -> None:
    video = _video([0] * 50 + [1] * 50 + [0] * 50)
    plans = plan_runs([video], [_tail(200, 150)], window=T, n_windows=96)
    labelled = [plan for plan in plans if plan.labels is not None]
    assert [plan.first for plan in labelled] == [44, 94]
    for plan in labelled:
        assert plan.labels is not None
        np.testing.assert_array_equal(
            plan.labels, np.asarray(video.labels)[plan.first : plan.first + plan.n]
        )
        assert set(plan.labels.tolist()) == {0, 1}


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 90), st.integers(0, 80)), min_size=1, max_size=6),
    st.lists(st.lists(st.integers(0, 1), min_size=T, max_size=60), max_size=4),
    st.integers(24, 200),
)
def test_every_planned_frame_exists_and_no_normal_run_overlaps(
    tails: list[tuple[int, int]], labels: list[list[int]], n_windows: int
) -> None:
    normal = [_tail(n, first) for n, first in tails]
    plans = plan_runs(
        [_video(x, f"v{i}") for i, x in enumerate(labels)], normal, window=T, n_windows=n_windows
    )
    assert len(plans) <= n_windows // RUN_LENGTH
    seen: dict[int, set[int]] = {}
    for plan in plans:
        assert 1 <= plan.n <= RUN_LENGTH
        tail = next((tail for tail in normal if tail.source is plan.source), None)
        if tail is not None:
            assert plan.first - T + 1 >= tail.first
            assert plan.first + plan.n <= (tail.source.n_frames or 0)
            frames = set(range(plan.first, plan.first + plan.n))
            assert not frames & seen.setdefault(id(tail), set())
            seen[id(tail)] |= frames
        else:
            assert plan.first >= T - 1
            assert plan.first + plan.n <= (plan.source.n_frames or 0)


def test_a_run_holds_exactly_its_frames() -> None:
    images = film(40, seed=0)
    run = read_run(PlannedRun(FilmSource("a", images), 20, 5, None), SPEC)
    assert run is not None
    assert len(run) == 5
    for i, window in enumerate(run.windows()):
        np.testing.assert_array_equal(window[0], images[20 + i - T + 1 : 20 + i + 1])
        assert np.shares_memory(window, run.frames)


def test_a_video_that_declared_too_much_gives_what_it_has() -> None:
    images = film(10, seed=0)
    assert read_run(PlannedRun(FilmSource("a", images, declared=99), 50, 5, None), SPEC) is None
    run = read_run(PlannedRun(FilmSource("a", images, declared=99), 7, 5, None), SPEC)
    assert run is not None
    assert len(run) == 3


def test_labels_longer_than_the_video_are_an_error() -> None:
    plan = PlannedRun(FilmSource("a", film(10, seed=0)), 7, 5, np.zeros(5, np.uint8))
    with pytest.raises(SourceError, match="must have frames up to 11 like its labels, got 10"):
        read_run(plan, SPEC)
