"""The look that all pictures of a report share: palette, type, how a figure is made and written.

Figures are built without pyplot: no global state, no display, nothing to close.
"""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from vadfast.atomic import atomic_file

# Okabe and Ito's palette: told apart with any colour vision, and in grey print.
INK = "#22262b"
MUTED = "#7a828c"
GRID = "#e4e7eb"
BLUE = "#0072b2"
VERMILION = "#d55e00"
GREEN = "#009e73"
ABNORMAL_FACE = "#f8dccb"  # vermilion, thinned: lies under a line without hiding it
HEAT = "inferno"
DPI = 150

COLOURS = {"micro_minmax": BLUE, "micro_raw": VERMILION, "causal": GREEN}

_LOOK: dict[Any, Any] = {
    "font.size": 9.0,
    "axes.titlesize": 9.0,
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 8.5,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "text.color": INK,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "text.parse_math": False,  # a video may be called "cost_$5_$6"
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


def look() -> AbstractContextManager[None]:
    """The context in which figures of the report are made, drawn and saved."""
    return mpl.rc_context(_LOOK)


def new_figure(width_in: float, height_in: float, *, headings_in: float | None = None) -> Figure:
    """An empty figure; with ``headings_in``, what is drawn is laid out below that many inches."""
    figure = Figure(figsize=(width_in, height_in), dpi=DPI)
    if headings_in is not None:
        below = (0.0, 0.0, 1.0, 1 - headings_in / height_in)
        figure.set_layout_engine(ConstrainedLayoutEngine(h_pad=0.06, w_pad=0.06, rect=below))
    return figure


def write_headings(figure: Figure, title: str, caption: str) -> None:
    """Writes the title and, under it, what there is to see."""
    height = figure.get_figheight()
    left = 0.12 / figure.get_figwidth()
    figure.text(left, 1 - 0.10 / height, title, fontsize=11.5, fontweight="bold", va="top")
    figure.text(left, 1 - 0.36 / height, caption, fontsize=8.5, va="top", color=MUTED)


def shortened(name: str, at_most: int = 26) -> str:
    """A video's name that fits above a panel; the end of a long one tells more than its start."""
    return name if len(name) <= at_most else "\N{HORIZONTAL ELLIPSIS}" + name[1 - at_most :]


def save(figure: Figure, target: Path) -> Path:
    """Writes the figure as PNG, whole or not at all, and returns ``target``."""
    with atomic_file(target) as temporary:
        figure.savefig(temporary, dpi=DPI, metadata={"Software": "vadfast"})
    return target
