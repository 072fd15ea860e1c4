"""Two pictures of an evaluation: the score of every video over time, and the ROC curves.

All panels of the first share one vertical axis, because the level of a video is what ``micro_raw``
sees and ``micro_minmax`` forgets.
"""

from collections.abc import Sequence
from math import ceil
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from sklearn.metrics import roc_curve

from vadfast.data.labels import spans_of
from vadfast.evaluate.figure import (
    ABNORMAL_FACE,
    BLUE,
    COLOURS,
    INK,
    MUTED,
    look,
    new_figure,
    save,
    shortened,
    write_headings,
)
from vadfast.evaluate.protocols import Evaluation, Scores, VideoScores
from vadfast.evaluate.report import percent
from vadfast.evaluate.subject import Subject

VIDEOS_PER_PAGE = 12
COLUMNS = 3


def plot_scores(
    subject: Subject, videos: Sequence[VideoScores], result: Evaluation, folder: Path
) -> list[Path]:
    """Writes ``scores_1.png`` ... (12 videos a page) and returns their paths."""
    lines, label, turned = _lines(subject, videos)
    low, high = min(line.min() for line in lines), max(line.max() for line in lines)
    margin = 0.05 * (high - low) or 1.0
    limits = (high + margin, low - margin) if turned else (low - margin, high + margin)
    n_pages = ceil(len(videos) / VIDEOS_PER_PAGE)
    paths = []
    for page in range(n_pages):
        chosen = slice(page * VIDEOS_PER_PAGE, (page + 1) * VIDEOS_PER_PAGE)
        n = len(videos[chosen])
        columns, rows = min(COLUMNS, n), ceil(n / COLUMNS)
        with look():
            figure = new_figure(max(3.7 * columns, 7.4), 1.75 * rows + 0.95, headings_in=0.62)
            grid = list(figure.subplots(rows, columns, squeeze=False, sharey=True).flat)
            for axes, video, line in zip(grid, videos[chosen], lines[chosen], strict=False):
                _draw_video(axes, video, line, result.video_auc[video.name])
                axes.set_ylim(limits)
            for axes in grid[max(n - columns, 0) : n]:
                axes.set_xlabel("frame")
            for axes in grid[n:]:
                axes.set_visible(False)
            figure.supylabel(label, fontsize=8.5, color=MUTED)
            of = f", page {page + 1} of {n_pages}" if n_pages > 1 else ""
            caption = "shaded: labelled abnormal.  up: more abnormal.  AUC: within the video."
            write_headings(figure, "Score over time", f"{subject.words}{of}.  {caption}")
            paths.append(save(figure, folder / f"scores_{page + 1}.png"))
    return paths


def plot_roc(
    subject: Subject, videos: Sequence[VideoScores], result: Evaluation, folder: Path
) -> Path:
    """Writes ``roc.png``, a curve per pooled score with its AUC and EER, and returns its path."""
    labels = np.concatenate([video.labels for video in videos])
    with look():
        figure = new_figure(5.4, 5.9, headings_in=0.82)
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=(0, (2, 3)))
        axes.plot([0, 1], [1, 0], color=MUTED, linewidth=0.5, linestyle=(0, (1, 4)))
        # One min-max over the set is the raw curve again, or close to it: it stays in the table.
        for name in (name for name in COLOURS if name in result.pooled):
            metrics = result.pooled[name]
            false_alarms, hits, _ = roc_curve(
                labels, np.concatenate([v.scores[name] for v in videos])
            )
            axes.plot(
                false_alarms,
                hits,
                color=COLOURS[name],
                linewidth=1.8,
                label=f"{name}   AUC {percent(metrics.auc)} %   EER {percent(metrics.eer)} %",
            )
            axes.plot(
                metrics.eer,
                1 - metrics.eer,
                "o",
                color="white",
                markeredgecolor=COLOURS[name],
                markersize=6,
            )
        axes.set(xlim=(-0.01, 1), ylim=(0, 1.01), aspect="equal")
        axes.set_xlabel("false alarms: share of normal frames above the threshold")
        axes.set_ylabel("hits: share of abnormal frames above the threshold")
        axes.legend(loc="lower right", fontsize=8.5, handlelength=1.4)
        write_headings(
            figure,
            "ROC",
            f"{subject.words}.\n{result.n_scores} frames, {result.n_abnormal} abnormal.  "
            "ring: equal error rate.",
        )
        return save(figure, folder / "roc.png")


def _lines(subject: Subject, videos: Sequence[VideoScores]) -> tuple[list[Scores], str, bool]:
    """What is drawn per video, its label, and whether the axis is turned (up: abnormal)."""
    if len(subject.components) > 1:
        return [video.scores["micro_raw"] for video in videos], "raw anomaly score", False
    component = subject.components[0]
    turned = component.high_is == "normal"
    unit = "" if component.unit == "1" else f", {component.unit}"
    label = f"{component.name.upper()}{unit}" + (" (axis turned)" if turned else "")
    return [video.components[:, 0].astype(np.float64) for video in videos], label, turned


def _draw_video(axes: Axes, video: VideoScores, line: Scores, auc: float | None) -> None:
    for first, last in spans_of(video.labels):
        start = video.first_frame + first
        axes.axvspan(
            start - 0.5, video.first_frame + last + 0.5, color=ABNORMAL_FACE, linewidth=0, zorder=0
        )
    axes.plot(np.arange(video.first_frame, video.n_frames), line, color=BLUE, linewidth=1.1)
    axes.set_xlim(0, video.n_frames - 1)
    axes.set_title(shortened(video.name), color=INK, fontweight="bold", loc="left")
    words = "one class: no AUC" if auc is None else f"AUC {percent(auc)} %"
    axes.set_title(words, color=MUTED, loc="right", fontsize=8.5)
