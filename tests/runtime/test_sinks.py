"""Sinks: fixed JSON lines, bounded curves, pictures and films that show what happened."""

import contextlib
import io
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vadfast.errors import SourceError
from vadfast.runtime.alert import Event
from vadfast.runtime.manifest import AlertRule, Component
from vadfast.runtime.session import ScoredFrame
from vadfast.runtime.sinks.jsonl import JsonLines, json_lines
from vadfast.runtime.sinks.overlay import Painter, overlay_video
from vadfast.runtime.sinks.plot import Curve, ScorePlot
from vadfast.runtime.source import Frame

SPEC = [
    Component(name="psnr", unit="dB", high_is="normal"),
    Component(name="distance", unit="1", high_is="abnormal"),
]
RULE = AlertRule(threshold=4, clear_threshold=2, raise_count=1, raise_window=1, clear_count=1)


def _scored(frame: int, score: float = 1.0, *, hot: bool = True) -> ScoredFrame:
    heatmap = np.zeros((4, 6), np.float32)
    heatmap[3, 5] = hot  # the bottom right cell
    return ScoredFrame(frame, frame / 10, np.array([31.7, 0.1], np.float32), heatmap, score)


# ------------------------------------------------------------------------------------ JSON lines


def test_lines_have_the_fixed_keys() -> None:
    stream = io.StringIO()
    lines = JsonLines(stream, SPEC, flush=False)
    lines.score("a/b", _scored(7, 1.25))
    lines.event("a/b", Event("start", 8, 0.8, 4.5))
    lines.error("b", "b: cannot be read")
    assert [json.loads(line) for line in stream.getvalue().splitlines()] == [
        {
            "video": "a/b",
            "frame": 7,
            "time_s": 0.7,
            "score": 1.25,
            "components": {"psnr": 31.7000008, "distance": 0.100000001},
        },
        {"video": "a/b", "event": "start", "frame": 8, "time_s": 0.8, "peak": 4.5},
        {"video": "b", "error": "b: cannot be read"},
    ]


@given(st.floats(width=32, allow_nan=False, allow_infinity=False), st.floats(-1e9, 1e9))
def test_lines_give_every_number_back_exactly(component: float, score: float) -> None:
    stream = io.StringIO()
    scored = ScoredFrame(0, 0.0, np.array([component], np.float32), np.zeros((1, 1)), score)
    JsonLines(stream, SPEC[:1], flush=False).score("v", scored)
    line = json.loads(stream.getvalue())
    assert line["score"] == score
    assert np.float32(line["components"]["psnr"]) == np.float32(component)


@given(st.text() | st.binary().map(os.fsdecode))
def test_any_name_and_message_stays_on_one_line(text: str) -> None:
    stream = io.StringIO(newline="")
    JsonLines(stream, SPEC, flush=False).error(text, text)
    assert stream.getvalue().encode("utf-8").count(b"\n") == 1
    assert len(stream.getvalue().splitlines()) == 1
    assert json.loads(stream.getvalue()) == {"video": text, "error": text}


def test_the_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "new" / "scores.jsonl"
    with contextlib.suppress(RuntimeError), json_lines(target, SPEC) as lines:
        lines.score("v", _scored(4))
        raise RuntimeError
    assert list(target.parent.iterdir()) == []
    with json_lines(target, SPEC) as lines:
        lines.score("v", _scored(4))
        assert not target.exists()
    assert len(target.read_text().splitlines()) == 1
    assert list(target.parent.iterdir()) == [target]


def test_standard_output_gets_each_line_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    with json_lines(None, SPEC) as lines:
        lines.score("v", _scored(4))
        assert json.loads(capsys.readouterr().out)["frame"] == 4


# ------------------------------------------------------------------------------------ plot


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=300), st.sampled_from([2, 4, 16]))
def test_a_curve_keeps_every_extreme_in_bounded_memory(scores: list[float], spans: int) -> None:
    curve = Curve(max_spans=spans)
    for i, score in enumerate(scores):
        curve.push(i / 10, score)
    n = curve.frames_per_span
    chunks = [scores[i : i + n] for i in range(0, len(scores), n)]
    assert len(curve.times_s) <= spans
    assert curve.lows == [min(chunk) for chunk in chunks]
    assert curve.highs == [max(chunk) for chunk in chunks]
    assert curve.times_s == [i / 10 for i in range(0, len(scores), n)]


@pytest.mark.parametrize("n", [1, 50, 10_000])
def test_a_plot_is_a_picture_with_the_event_in_red(tmp_path: Path, n: int) -> None:
    plot = ScorePlot("film $_{", RULE)  # a name, not a formula
    for i in range(n):
        kind = {n // 2: "start", n // 2 + n // 4: "end"}.get(i) if n > 1 else None
        event = Event(kind, i, i / 10, 5.0) if kind in ("start", "end") else None  # type: ignore[arg-type]
        plot.add(_scored(i, 5.0 * np.sin(i / n * 9)), event)
    plot.write(tmp_path / "plot.png")
    image = cv2.imread(str(tmp_path / "plot.png"))
    assert image is not None
    blue, green, red = (
        image[image.shape[0] // 3 : image.shape[0] // 2, ..., c].astype(int) for c in range(3)
    )
    shaded = (red > 230) & (green < 235) & (green > 180) & (blue < 235)
    # The event is a quarter of the film: at least a tenth of the picture's width is shaded.
    assert (shaded.any(axis=0).mean() > 0.1) == (n > 1)
    assert [file.name for file in tmp_path.iterdir()] == ["plot.png"]


def test_an_event_that_the_film_cuts_off_is_shaded_to_the_end() -> None:
    plot = ScorePlot("film", RULE)
    for i in range(10):
        plot.add(_scored(i, 5.0), Event("start", i, i / 10, 5.0) if i == 6 else None)
    assert plot._spans() == [(0.6, 0.9)]
    plot.end(Event("end", 9, 0.9, 5.0))
    assert plot._spans() == [(0.6, 0.9)]


# ------------------------------------------------------------------------------------ overlay


@dataclass
class GreySource:
    n: int
    size: tuple[int, int] = (48, 64)
    fps: float | None = 10.0
    name: str = "grey"
    path: Path = Path("grey")

    @property
    def n_frames(self) -> int | None:
        return self.n

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self.n):
            yield Frame(np.full((*self.size, 3), 60 + 10 * index, np.uint8), index, index / 10)


def _decode(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.parametrize("size", [(48, 64), (47, 63), (240, 360), (1080, 1920)])
def test_the_film_has_every_frame_and_its_rate(tmp_path: Path, size: tuple[int, int]) -> None:
    target = tmp_path / "film.mp4"
    source = GreySource(9, size)
    with overlay_video(target, source, RULE) as overlay:
        for index in range(4, 9):
            overlay.add(_scored(index), in_event=index >= 7)
    frames = _decode(target)
    assert len(frames) == 9
    assert 640 <= frames[0].shape[1] <= 1280
    with av.open(str(target)) as container:
        assert container.streams.video[0].average_rate == 10
    # Each film frame is at its place: the made source gets brighter by 10 per frame.
    height = frames[0].shape[0] - 96
    brightness = [float(np.median(frame[height // 2, : frame.shape[1] // 3])) for frame in frames]
    np.testing.assert_allclose(brightness, [60 + 10 * i for i in range(9)], atol=4)
    red_border = [frame[height // 2, 2:4].mean(0) @ [1, -0.5, -0.5] > 100 for frame in frames]
    assert red_border == [False] * 7 + [True] * 2


def test_heat_is_painted_where_the_map_is_hot_and_nowhere_else() -> None:
    painter = Painter((48, 64), RULE, fps=10.0)
    frame = Frame(np.full((48, 64, 3), 90, np.uint8), 4, 0.4)
    cold = painter.paint(frame, _scored(4, hot=False), in_event=False)
    hot = painter.paint(frame, _scored(4), in_event=False)
    changed = np.abs(hot[:480].astype(int) - cold[:480]).max(-1) > 8
    assert changed[440:, 560:].all()
    assert not changed[:240].any()
    assert not changed[:, :420].any()


def test_a_film_changed_between_the_two_readings_is_said(tmp_path: Path) -> None:
    with (
        pytest.raises(SourceError, match="frame 9 was scored, but is gone"),
        overlay_video(tmp_path / "film.mp4", GreySource(5), RULE) as overlay,
    ):
        overlay.add(_scored(9), in_event=False)
    assert list(tmp_path.iterdir()) == []


def test_no_frame_and_no_film_is_left_when_scoring_fails_at_once(tmp_path: Path) -> None:
    with (
        pytest.raises(SourceError, match="broken"),
        overlay_video(tmp_path / "film.mp4", GreySource(5), RULE),
    ):
        raise SourceError("broken")
    assert list(tmp_path.iterdir()) == []
