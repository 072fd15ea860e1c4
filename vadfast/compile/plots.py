"""The pictures of a compile report: race, rounds, agreement with eager, heat maps, calibration. Every number in them was measured."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from vadfast.compile.evidence import Answer, Picture
from vadfast.evaluate.figure import (
    ABNORMAL_FACE,
    BLUE,
    GRID,
    HEAT,
    INK,
    MUTED,
    VERMILION,
    look,
    new_figure,
)
from vadfast.race import Timing, short_ms

WIDTH_IN = 8.6
_ROW_IN = 0.30
_PANEL_IN = 1.55
_N_BINS = 48
# Else powers of ten are written in Matplotlib's own mathematics.
_PLAIN = StrMethodFormatter("{x:g}")

Scores = npt.NDArray[np.floating[Any]]


def draw_race(races: Sequence[Sequence[tuple[str, Timing]]], eagers: Collection[str]) -> Figure:
    """Bars of the medians with their 95 % intervals, a race of each batch below the other, fastest first.

    ``eagers`` names those of eager, one in each race, and a dashed line along the bars of its race is its median.
    """
    timings = [row for race in races for row in race]
    with look():
        figure = _figure(_ROW_IN * len(timings) + 0.65)
        axes = figure.subplots()
        for y, (name, timing) in enumerate(timings):
            colour = VERMILION if name in eagers else BLUE
            axes.barh(y, timing.median_ms, height=0.62, color=colour)
            axes.plot([timing.lo_ms, timing.hi_ms], [y, y], color=INK, linewidth=1.4)
            axes.annotate(
                f"{short_ms(timing.median_ms)} ms",
                (timing.hi_ms, y),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                fontsize=8.5,
            )
        first = -0.5
        for race in races:
            for eager_ms in (timing.median_ms for name, timing in race if name in eagers):
                axes.plot(
                    [eager_ms, eager_ms],
                    [first, first + len(race)],
                    color=VERMILION,
                    linewidth=0.8,
                    linestyle=(0, (3, 3)),
                    zorder=0,
                )
            first += len(race)
        _name_rows(axes, [name for name, _ in timings])
        axes.set_xlim(0, max(t.hi_ms for _, t in timings) * 1.12)
        axes.set_xlabel("milliseconds a window: median, and its 95 % interval as a line")
        return figure


def draw_rounds(timings: Sequence[tuple[str, Timing]], eagers: Collection[str]) -> Figure:
    """Every round of the race as a dot, the median as a stroke, and the 90 % quantile as a short one."""
    with look():
        figure = _figure(_ROW_IN * len(timings) + 0.65)
        axes = figure.subplots()
        for y, (name, timing) in enumerate(timings):
            axes.axhline(y + 0.5, color=GRID, linewidth=0.8, zorder=0)
            colour = VERMILION if name in eagers else BLUE
            # Dots of one row side by side, in the order of the rounds: a machine that got slower shows.
            offsets = np.linspace(0.28, -0.28, len(timing.round_ms))
            axes.plot(
                timing.round_ms, y - offsets, "o", color=colour, markersize=3.2, alpha=0.75, mew=0
            )
            axes.plot([timing.median_ms] * 2, [y - 0.38, y + 0.38], color=INK, linewidth=1.4)
            p90 = float(np.quantile(timing.round_ms, 0.9))
            axes.plot([p90] * 2, [y - 0.2, y + 0.2], color=MUTED, linewidth=1.4)
        every = [ms for _, timing in timings for ms in timing.round_ms]
        if max(every) > 8 * min(every):
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter(_PLAIN)
            axes.xaxis.set_minor_formatter(NullFormatter())
        _name_rows(axes, [name for name, _ in timings])
        axes.set_xlabel(
            "milliseconds a window in each round, the first on top; strokes: median, and 90 % (short)"
        )
        return figure


def draw_agreement(
    eager: Answer,
    other: Answer,
    labels: Sequence[npt.NDArray[np.uint8] | None],
    *,
    component: int,
    label: str,
    bound: float,
    name: str,
) -> Figure:
    """Scores of both over the windows of the gate, run after run, and below how far they are apart on a logarithmic axis."""
    starts = np.cumsum([0, *(len(part) for part in eager.components)])
    with look():
        figure = _figure(2 * _PANEL_IN + 0.5)
        scores, errors = figure.subplots(2, 1, sharex=True)
        apart = [
            np.abs(a[:, component].astype(np.float64) - b[:, component])
            for a, b in zip(other.components, eager.components, strict=True)
        ]
        least = min(bound, *(part[part > 0].min() for part in apart if (part > 0).any()), 1.0) / 3
        for r, start in enumerate(starts[:-1]):
            x = start + np.arange(len(apart[r]))
            abnormal = np.zeros(len(x), bool) if labels[r] is None else labels[r] != 0
            for axes in (scores, errors):
                axes.axvline(start - 0.5, color=GRID, linewidth=0.8, zorder=0)
                for at in x[abnormal]:
                    axes.axvspan(at - 0.5, at + 0.5, color=ABNORMAL_FACE, linewidth=0, zorder=0)
            told = r == 0
            scores.plot(
                x,
                eager.components[r][:, component],
                color=VERMILION,
                linewidth=3.2,
                alpha=0.45,
                label="eager float32" if told else None,
            )
            scores.plot(
                x,
                other.components[r][:, component],
                color=BLUE,
                linewidth=1.1,
                label=name if told else None,
            )
            errors.plot(x, np.maximum(apart[r], least), ".", color=BLUE, markersize=4)
        errors.axhline(bound, color=VERMILION, linewidth=1.0, linestyle=(0, (3, 3)))
        errors.annotate(
            "allowed",
            (starts[-1] - 0.5, bound),
            xytext=(-2, -3),
            textcoords="offset points",
            ha="right",
            va="top",
            fontsize=8,
            color=VERMILION,
        )
        errors.set_yscale("log")
        most = max(bound, *(part.max() for part in apart))
        errors.set_ylim(least * 0.7, most * 3)
        if most < 100 * least:  # powers of ten alone would leave the axis bare
            errors.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        errors.yaxis.set_major_formatter(_PLAIN)
        errors.yaxis.set_minor_formatter(NullFormatter())
        scores.set_xlim(-0.5, starts[-1] - 0.5)
        scores.xaxis.set_major_locator(MaxNLocator(integer=True))
        scores.set_ylabel(label)
        errors.set_ylabel("apart")
        errors.set_xlabel("window of the gate; a vertical line begins another piece of film")
        scores.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2)
        return figure


def draw_heat(pictures: Sequence[Picture], eager: Answer, other: Answer, name: str) -> Figure:
    """A row a window: its newest frame, both heat maps on one scale, and how far they are apart on a scale of its own."""
    height, width = pictures[0].image.shape[:2]
    cell_in = (WIDTH_IN - 0.1) / 4
    with look():
        figure = _figure((cell_in * height / width + 0.28) * len(pictures) + 0.25)
        grid = figure.subplots(len(pictures), 4, squeeze=False)
        brightest = max(float(h.max()) for h in (*eager.heatmaps, *other.heatmaps)) or 1.0
        apart = [np.abs(a - b) for a, b in zip(eager.heatmaps, other.heatmaps, strict=True)]
        farthest = max(float(a.max()) for a in apart) or 1.0
        for r, row in enumerate(grid):
            extent = (0, width, height, 0)
            row[0].imshow(pictures[r].image, extent=extent)
            for axes, heat, most in (
                (row[1], eager.heatmaps[r], brightest),
                (row[2], other.heatmaps[r], brightest),
                (row[3], apart[r], farthest),
            ):
                axes.imshow(heat, cmap=HEAT, vmin=0, vmax=most, extent=extent)
            row[0].set_xlabel(f"window {r + 1}", color=MUTED)
            for axes, heat in zip(
                row[1:], (eager.heatmaps[r], other.heatmaps[r], apart[r]), strict=True
            ):
                axes.set_xlabel(f"at most {heat.max():.3g}", color=MUTED)
            for axes in row:
                axes.set(xticks=[], yticks=[])
                axes.grid(False)
        for axes, title in zip(grid[0], ("newest frame", "eager", name, "apart"), strict=True):
            axes.set_title(title, loc="left")
        return figure


def draw_calibration(scores: Scores, threshold: float, clear_threshold: float) -> Figure:
    """How often each causal score came on normal video, and where the alert is raised and cleared."""
    with look():
        figure = _figure(_PANEL_IN + 0.75)
        axes = figure.subplots()
        axes.hist(scores, bins=_N_BINS, color=BLUE, alpha=0.8)
        top = axes.get_ylim()[1]
        # Words on the outer sides: the thresholds may lie close together.
        for value, words, colour, side in (
            (clear_threshold, "cleared below", MUTED, "right"),
            (threshold, "raised above", VERMILION, "left"),
        ):
            axes.axvline(value, color=colour, linewidth=1.3, linestyle=(0, (3, 3)))
            axes.annotate(
                f"{words} {value:.2f}",
                (value, top * 0.98),
                xytext=(4 if side == "left" else -4, 0),
                textcoords="offset points",
                ha=side,
                va="top",
                fontsize=8.5,
                color=colour,
            )
        low, high = axes.get_xlim()
        axes.set_xlim(low, max(high, threshold) + 0.16 * (high - low))  # room for the words
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
        axes.set_xlabel("causal score: robust standard deviations above normal")
        axes.set_ylabel("frames")
        return figure


def _figure(height_in: float) -> Figure:
    return new_figure(WIDTH_IN, height_in, headings_in=0.0)


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names, color=INK, fontsize=8.5)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
