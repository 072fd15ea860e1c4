"""Accuracy against cost as a picture: which sizes nobody needs, because another is both faster and better."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.ticker import LogLocator, NullLocator

from vadfast.ablate.plan import Plan
from vadfast.ablate.table import Entry
from vadfast.evaluate.figure import (
    BLUE,
    INK,
    MUTED,
    VERMILION,
    look,
    new_figure,
    save,
    write_headings,
)


def best(points: Sequence[tuple[float, float]]) -> list[int]:
    """The places of the (ms, AUC) to which no other is at least as fast and better, fastest first.

    >>> best([(1, 0.8), (2, 0.7), (3, 0.9)])
    [0, 2]
    """
    chosen: list[int] = []
    for place in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if not chosen or points[place][1] > points[chosen[-1]][1]:
            chosen.append(place)
    return chosen


def plot_frontier(plan: Plan, found: Sequence[Entry], target: Path) -> Path:
    """Writes ``target``: AUC with its deviation over ms a frame, and the line through the best."""
    timed = [(entry, entry.ms) for entry in found if entry.ms is not None]
    points = [(ms, entry.headline.mean) for entry, ms in timed]
    frontier = best(points)
    name = next(iter(found[0].auc))
    with look():
        figure = new_figure(7.4, 4.6, headings_in=0.72)
        axes = figure.subplots()
        axes.plot(
            [points[i][0] for i in frontier],
            [100 * points[i][1] for i in frontier],
            color=BLUE,
            linewidth=1.2,
        )
        for place, (entry, ms) in enumerate(timed):
            colour = BLUE if place in frontier else VERMILION
            axes.errorbar(
                ms,
                100 * entry.headline.mean,
                yerr=100 * entry.headline.deviation,
                fmt="o",
                color=colour,
                markersize=5,
                elinewidth=0.9,
                capsize=2.5,
            )
            at = [f"{axis} {value}" for axis, value in entry.line.point]
            rows = [entry.line.row] if len({e.line.row for e in found}) > 1 else []
            axes.annotate(
                "\n".join([*rows, *at, f"{entry.cameras} cameras"]),
                (ms, 100 * entry.headline.mean),
                xytext=(6, -4),
                textcoords="offset points",
                fontsize=7.0,
                color=INK if place in frontier else MUTED,
                va="top",
            )
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter("{x:g}")
        axes.margins(x=0.18, y=0.18)
        axes.set_xlabel("ms a frame, the engine alone")
        axes.set_ylabel(f"{name}, AUC %")
        subject = f"{plan.method.upper()} on {plan.data.name}, seeds: {plan.seeds}"
        seen = "line: nothing is both faster and better.  bars: deviation over seeds."
        write_headings(figure, "Accuracy and cost", f"{subject}.  {seen}")
        return save(figure, target)
