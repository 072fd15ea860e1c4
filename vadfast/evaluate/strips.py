"""Pictures of what the model gets most wrong: worst false alarms and worst misses.

Frames are ranked by the raw score: min-max would make a "worst" frame in every video that has a
single class. The few windows shown are read and scored again, so that a long test set never keeps
its heat maps in memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from vadfast.data.datasets import Dataset, Video
from vadfast.errors import SourceError
from vadfast.evaluate.figure import (
    GRID,
    HEAT,
    INK,
    MUTED,
    VERMILION,
    look,
    new_figure,
    save,
    shortened,
    write_headings,
)
from vadfast.evaluate.protocols import VideoScores
from vadfast.evaluate.subject import Subject
from vadfast.runtime.preprocess import Preprocess
from vadfast.teachers.pictures import Pictures

N_STRIPS = 4
APART_FRAMES = 25  # two pictures of one event teach nothing
RANGE_DB = 25.0  # of the heat map's colours; cells further below the brightest are left out
CELL_IN = 1.45


@dataclass(frozen=True, slots=True)
class Pick:
    """A frame worth looking at."""

    video: int  # its place in the list of videos
    frame: int  # 0-based, of the video
    row: int  # its place in the video's scores
    score: float  # raw


@dataclass(frozen=True, slots=True)
class _Strip:
    pick: Pick
    window: NDArray[np.uint8]  # [T, H, W, 3]
    heatmap: NDArray[np.float32]  # [h, w]
    mask: NDArray[np.bool_] | None  # what is labelled abnormal, in the size of the data set's masks


def plot_strips(
    subject: Subject, dataset: Dataset, videos: Sequence[VideoScores], folder: Path
) -> list[Path]:
    """Writes ``worst_false_alarms.png`` and ``worst_misses.png`` and returns their paths."""
    kinds = {
        "worst_false_alarms": (0, "Worst false alarms", "labelled normal, scored most abnormal"),
        "worst_misses": (1, "Worst misses", "labelled abnormal, scored most normal"),
    }
    strips = {
        stem: [_read(subject, dataset.test[pick.video], pick) for pick in worst(videos, label)]
        for stem, (label, _, _) in kinds.items()
    }
    # One scale for both pictures: otherwise a miss would glow as brightly as a false alarm.
    brightest = max(float(strip.heatmap.max()) for of_kind in strips.values() for strip in of_kind)
    return [
        save(_draw(subject, videos, strips[stem], title, what, brightest), folder / f"{stem}.png")
        for stem, (_, title, what) in kinds.items()
    ]


def worst(
    videos: Sequence[VideoScores], label: int, n: int = N_STRIPS, apart: int = APART_FRAMES
) -> list[Pick]:
    """Returns up to ``n`` frames with this label, ``apart`` frames apart, most wrong first."""
    sign = -1.0 if label == 0 else 1.0  # normal: highest score first; abnormal: lowest first
    candidates = [
        Pick(index, video.first_frame + int(row), int(row), float(video.scores["micro_raw"][row]))
        for index, video in enumerate(videos)
        for row in np.flatnonzero(video.labels == label)
    ]
    picks: list[Pick] = []
    for candidate in sorted(candidates, key=lambda pick: sign * pick.score):
        if all(
            p.video != candidate.video or abs(p.frame - candidate.frame) >= apart for p in picks
        ):
            picks.append(candidate)
        if len(picks) == n:
            break
    return picks


def _read(subject: Subject, video: Video, pick: Pick) -> _Strip:
    spec = subject.input
    preprocess, first = Preprocess(spec), pick.frame - spec.n_frames + 1
    window = np.zeros((spec.n_pictures, spec.height, spec.width, 3), np.uint8)
    teach = Pictures(spec.teachers, video.source.path) if spec.teachers else None
    n_read = 0
    for frame in video.source:
        if frame.index < first and teach is None:
            continue
        image = preprocess(frame.image)
        if teach:
            window[spec.n_frames :] = teach(image, frame.index)
        if frame.index >= first:
            window[frame.index - first] = image
            n_read += 1
        if frame.index == pick.frame:
            break
    if n_read != spec.n_frames:
        raise SourceError(
            f"evaluate: {video.name} must still have frame {pick.frame}, which was scored before, "
            "but it ended early; leave the data alone while it is evaluated"
        )
    batch = np.repeat(window[np.newaxis], subject.engine.batch, axis=0)  # [B, T, H, W, 3]
    mask = None if video.masks is None else video.masks()[pick.frame]
    return _Strip(pick, window, subject.engine(batch).heatmap[0], mask)


def _draw(
    subject: Subject,
    videos: Sequence[VideoScores],
    strips: Sequence[_Strip],
    title: str,
    what: str,
    brightest: float,
) -> Figure:
    # Set by hand, in inches: a layout engine would widen a column to hold the heading of its row.
    n_frames, tall_in = subject.input.n_frames, CELL_IN * subject.input.height / subject.input.width
    row_in = tall_in + 0.50
    width_in, height_in = (CELL_IN + 0.05) * (n_frames + 1) + 0.95, row_in * len(strips) + 0.65
    with look():
        figure = new_figure(width_in, height_in)

        def place(x_in: float, y_in: float, w_in: float, h_in: float) -> Axes:
            return figure.add_axes(
                (x_in / width_in, 1 - (y_in + h_in) / height_in, w_in / width_in, h_in / height_in)
            )

        for row, strip in enumerate(strips):
            top_in = 0.90 + row * row_in
            figure.text(
                0.12 / width_in,
                1 - (top_in - 0.07) / height_in,
                _caption(subject, videos, strip.pick),
                fontsize=8.5,
            )
            for column in range(n_frames + 1):
                axes = place(0.12 + column * (CELL_IN + 0.05), top_in, CELL_IN, tall_in)
                if column == n_frames:
                    _draw_heat(axes, strip, brightest)
                else:
                    _draw_frame(axes, strip, column)
        bar_axes = place(
            0.20 + (n_frames + 1) * (CELL_IN + 0.05),
            0.90,
            0.10,
            min(tall_in * 2 + 0.5, height_in - 1.2),
        )
        bar = figure.colorbar(ScalarMappable(Normalize(-RANGE_DB, 0), HEAT), cax=bar_axes)
        bar.set_label("dB below the brightest cell of both pictures", fontsize=8.0, color=MUTED)
        outlined = (
            "  outlined: labelled abnormal."
            if any(s.mask is not None and s.mask.any() for s in strips)
            else ""
        )
        write_headings(
            figure,
            title,
            f"{subject.words}.  {what}; {APART_FRAMES} or more frames apart.{outlined}",
        )
        return figure


def _draw_frame(axes: Axes, strip: _Strip, column: int) -> None:
    axes.imshow(strip.window[column], interpolation="nearest", aspect="auto")
    ago = len(strip.window) - 1 - column
    _frame_axes(axes, f"t - {ago}" if ago else "frame t", last=not ago)
    if not ago:
        _outline(axes, strip)


def _draw_heat(axes: Axes, strip: _Strip, brightest: float) -> None:
    height, width = strip.window.shape[1:3]
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    faint = strip.window[-1].mean(axis=-1) * 0.45  # [H, W]: enough to see where one is
    axes.imshow(faint, cmap="gray", vmin=0, vmax=255, extent=extent, aspect="auto")
    tiny = float(np.finfo(np.float32).tiny)
    # [h, w], 0 = brightest
    decibel = 10 * np.log10(np.maximum(strip.heatmap, tiny) / max(brightest, tiny))
    # The lower half of the range fades into the frame, the upper half has the colours of the bar.
    opacity = np.clip(2 * (decibel + RANGE_DB) / RANGE_DB, 0, 1)
    axes.imshow(
        decibel,
        cmap=HEAT,
        vmin=-RANGE_DB,
        vmax=0,
        alpha=opacity,
        extent=extent,
        interpolation="nearest",
        aspect="auto",
    )
    _frame_axes(axes, "heat map", last=False)


def _outline(axes: Axes, strip: _Strip) -> None:
    if strip.mask is None or not strip.mask.any():
        return
    height, width = strip.window.shape[1:3]
    rows, columns = strip.mask.shape
    axes.contour(
        np.linspace(0, width - 1, columns),
        np.linspace(0, height - 1, rows),
        strip.mask.astype(np.float32),
        levels=[0.5],
        colors=[VERMILION],
        linewidths=0.9,
    )


def _frame_axes(axes: Axes, words: str, *, last: bool) -> None:
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set(visible=True, color=INK if last else GRID, linewidth=1.2 if last else 0.6)
    axes.set_xlabel(words, fontsize=7.5, labelpad=2, color=INK if last else MUTED)


def _caption(subject: Subject, videos: Sequence[VideoScores], pick: Pick) -> str:
    video = videos[pick.video]
    values = "    ".join(
        f"{component.name.upper()} {value:.2f}"
        + ("" if component.unit == "1" else f" {component.unit}")
        for component, value in zip(subject.components, video.components[pick.row], strict=True)
    )
    within = video.scores["micro_minmax"][pick.row]
    where = f"{shortened(video.name)},  t = {pick.frame}"
    return f"{where}    {values}    score within its video {within:.2f}"
