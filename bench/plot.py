"""``python -m bench plot``: speed-up bars, rooflines and scaling of one device's rows, as PNG beside the rows."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.results import Row, read_rows
from vadfast.atomic import atomic_file
from vadfast.errors import UsageError

_MET, _SLOWER, _POINT = "#2a6f97", "#c1121f", "#2a6f97"


def plot_results(folder: Path) -> list[Path]:
    """Draws every suite of ``folder`` that has something to draw; returns the pictures.

    Raises:
        UsageError: no row of the folder has a ratio, a cost or an axis.
    """
    files = [p for p in sorted(folder.glob("*.json")) if p.name != "machine.json"]
    drawn = []
    for file in files:
        rows = read_rows(file)
        compared = [row for row in rows if row.ratio is not None and row.provider != row.reference]
        if compared:
            drawn.append(_bars(compared, folder / f"{file.stem}_speedup.png"))
        costed = [row for row in rows if row.roofline is not None]
        if costed:
            drawn.append(_roofline(costed, folder / f"{file.stem}_roofline.png"))
        growing = [row for row in rows if row.at is not None]
        if growing:
            drawn.append(_growth(growing, folder / f"{file.stem}_growth.png"))
    if not drawn:
        raise UsageError(
            f"{folder}: must hold rows with a ratio, a cost or an axis, has none; run a suite first"
        )
    return drawn


def _bars(rows: Sequence[Row], target: Path) -> Path:
    from matplotlib.figure import Figure

    cases = list(dict.fromkeys(row.case for row in rows))
    figure = Figure(figsize=(9, 0.9 + 0.24 * len(rows) + 0.3 * len(cases)), layout="constrained")
    axes = figure.subplots()
    y, ticks, labels = 0.0, [], []
    for case in cases:
        here = [row for row in rows if row.case == case]
        axes.text(
            0, y, f"{case}, against {here[0].reference}", fontsize=8, weight="bold", va="center"
        )
        y += 1
        for row in here:
            assert row.ratio is not None
            assert row.ratio_lo is not None
            assert row.ratio_hi is not None
            spread = [[row.ratio - row.ratio_lo], [row.ratio_hi - row.ratio]]
            colour = _MET if row.ratio >= 1 else _SLOWER
            axes.barh(y, row.ratio, color=colour, height=0.7, xerr=spread, ecolor="#555555")
            axes.text(
                max(row.ratio, row.ratio_hi), y, f"  {row.ratio:.2f}x", fontsize=7, va="center"
            )
            ticks.append(y)
            labels.append(f"{row.provider} {row.dtype}")
            y += 1
        y += 0.4
    axes.axvline(1, color="#555555", linewidth=0.8)
    axes.set_yticks(ticks, labels, fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("times as fast as the reference (95 % interval); below 1 is slower")
    axes.margins(x=0.12)
    axes.set_title(_origin(rows), fontsize=8, loc="left")
    return _save(figure, target)


def _roofline(rows: Sequence[Row], target: Path) -> Path:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for marker, case in zip(
        "osD^vP*Xphd<>" * 4, dict.fromkeys(row.case for row in rows), strict=False
    ):
        here = [row for row in rows if row.case == case]
        x = [_gflop(row) / (row.mbyte or 1) * 1e3 for row in here]  # flop per byte
        y = [_gflop(row) / _ms(row) * 1e3 for row in here]
        axes.scatter(x, y, marker=marker, s=24, label=case)
    copy = float(np.median([row.copy_gb_s or 0 for row in rows]))
    matrix = float(np.median([row.matrix_gflop_s or 0 for row in rows]))
    intensity = [0.1, matrix / copy, 1e4]
    limit = [min(matrix, copy * i) for i in intensity]
    axes.plot(
        intensity, limit, color="#555555", linewidth=1, label="measured copy and matrix rates"
    )
    axes.set(xscale="log", yscale="log", xlabel="least work over least traffic [flop/byte]")
    axes.set_ylabel("work done [GFLOP/s]")
    axes.legend(fontsize=6, loc="best")
    axes.set_title(_origin(rows), fontsize=8, loc="left")
    return _save(figure, target)


def _growth(rows: Sequence[Row], target: Path) -> Path:
    """A panel per case, a line per provider: times grow on logarithmic axes, so a power of the axis is a straight line."""
    from matplotlib.figure import Figure

    cases = list(dict.fromkeys(row.case for row in rows))
    figure = Figure(figsize=(4.2 * len(cases), 3.6), layout="constrained")
    panels = figure.subplots(1, len(cases), squeeze=False)[0]
    for axes, case in zip(panels, cases, strict=True):
        here = [row for row in rows if row.case == case]
        for provider in dict.fromkeys(row.provider for row in here):
            line = [row for row in here if row.provider == provider]
            y = [row.value if row.median_ms is None else row.median_ms for row in line]
            axes.plot([row.at for row in line], y, marker="o", markersize=4, label=provider)
        axes.set(xscale="log", yscale="log", xlabel=here[0].axis, title=case)
        axes.set_ylabel(here[0].unit or "a call [ms]")
        places = sorted({row.at for row in here if row.at is not None})
        axes.set_xticks(places, [f"{place:g}" for place in places])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.title.set_fontsize(8)
        axes.legend(fontsize=7)
    figure.suptitle(_origin(rows), fontsize=8)
    return _save(figure, target)


def _gflop(row: Row) -> float:
    assert row.gflop is not None
    return row.gflop


def _ms(row: Row) -> float:
    assert row.median_ms is not None
    return row.median_ms


def _origin(rows: Sequence[Row]) -> str:
    first = rows[0]
    kinds = "/".join(sorted({row.kind for row in rows}))
    return f"{first.device}; {kinds} {first.date}, load {max(row.load for row in rows):g}"


def _save(figure: object, target: Path) -> Path:
    with atomic_file(target) as temporary:
        figure.savefig(temporary, dpi=130)  # type: ignore[attr-defined]
    return target
