"""The pictures show the frames that they claim to show."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.tiny_bundle import CELL, H, T, W
from vadfast.data.datasets import load_dataset
from vadfast.evaluate.figure import shortened
from vadfast.evaluate.plots import plot_roc, plot_scores
from vadfast.evaluate.protocols import evaluate
from vadfast.evaluate.scoring import score_videos
from vadfast.evaluate.strips import plot_strips, worst
from vadfast.evaluate.subject import Subject


def test_worst_mistakes_are_the_extremes_and_stay_apart(subject: Subject, data: Path) -> None:
    videos = score_videos(subject, load_dataset(data, "folder"))
    for label, best in ((0, max), (1, min)):
        picks = worst(videos, label, n=3, apart=5)
        scores = [
            (float(v.scores["micro_raw"][row]))
            for v in videos
            for row in np.flatnonzero(v.labels == label)
        ]
        assert picks[0].score == best(scores)
        assert [p.score for p in picks] == sorted((p.score for p in picks), reverse=label == 0)
        for i, a in enumerate(picks):
            assert videos[a.video].labels[a.row] == label
            assert a.frame == a.row + T - 1
            assert all(a.video != b.video or abs(a.frame - b.frame) >= 5 for b in picks[:i])


def test_pictures_show_the_windows_that_were_scored(
    subject: Subject, data: Path, tmp_path: Path
) -> None:
    """The strips score windows again; one frame off would draw another frame's heat map."""
    seen: list[np.ndarray] = []

    class Recorder:
        batch = 2
        backend = precision = "recorder"

        def __call__(self, frames: np.ndarray) -> Any:
            seen.append(frames[0].copy())
            return type("O", (), {"heatmap": np.ones((2, H // CELL, W // CELL), np.float32)})()

    dataset = load_dataset(data, "folder")
    videos = score_videos(subject, dataset)
    recorded = replace(subject, engine=Recorder())
    paths = plot_strips(recorded, dataset, videos, tmp_path)
    assert [p.name for p in paths] == ["worst_false_alarms.png", "worst_misses.png"]
    picks = [*worst(videos, 0), *worst(videos, 1)]
    assert len(seen) == len(picks)
    for window, pick in zip(seen, picks, strict=True):
        frames = [frame.image for frame in dataset.test[pick.video].source]
        np.testing.assert_array_equal(window, frames[pick.frame - T + 1 : pick.frame + 1])


def test_many_videos_take_several_pages(subject: Subject, data: Path, tmp_path: Path) -> None:
    videos = score_videos(subject, load_dataset(data, "folder"))
    many = [replace(videos[i % 3], name=f"{i:02d}") for i in range(14)]
    result = evaluate(many)
    assert [p.name for p in plot_scores(subject, many, result, tmp_path)] == [
        "scores_1.png",
        "scores_2.png",
    ]
    assert plot_roc(subject, many, result, tmp_path).is_file()
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_long_names_keep_their_end() -> None:
    assert shortened("a" * 26) == "a" * 26
    assert len(shortened("x" * 40 + "end")) == 26
    assert shortened("x" * 40 + "end").endswith("end")
