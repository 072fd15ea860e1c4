"""The finished table: mean and deviation over seeds of each line, what the paper prints, and what a frame costs."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.markup import escape
from rich.table import Table

from vadfast.ablate.plan import Line, Plan
from vadfast.ablate.published import published
from vadfast.ablate.runs import reports
from vadfast.evaluate.spread import Spread, spreads

# Those that there are, the papers' own first: of frame predictors micro_minmax, of bags micro_raw where frames are labelled.
_SHOWN = ("micro_minmax", "micro_raw", "macro", "rbdc", "video")


@dataclass(frozen=True, slots=True)
class Entry:
    """A line with its numbers."""

    line: Line
    auc: dict[str, Spread]
    paper_percent: float | None
    # Of a frame, medians over seeds; None where no film was scored.
    ms: float | None
    frames_per_s: float | None
    cameras: int | None

    @property
    def headline(self) -> Spread:
        """The number that tables are about."""
        return next(iter(self.auc.values()))


def entries(plan: Plan) -> list[Entry]:
    """Reads the reports of every line."""
    found = []
    for line in plan.lines:
        of_line = reports(plan, line)
        rates = spreads(of_line)
        speeds = [r["speed"] for r in of_line if "frames_per_s" in (r.get("speed") or {})]
        found.append(
            Entry(
                line,
                {name: rates[name] for name in _SHOWN if name in rates},
                published(plan.method, of_line[0]["dataset"], line.row),
                _median([s["p50_ms"] / s["batch"] for s in speeds]),
                _median([s["frames_per_s"] for s in speeds]),
                min((s["cameras"] for s in speeds), default=None),
            )
        )
    return found


def header(plan: Plan, found: Sequence[Entry]) -> list[str]:
    """The names of the columns."""
    axes = [name for name, _ in plan.lines[0].point]
    return ["row", *axes, *found[0].auc, "paper", "ms", "frames/s", "cameras"]


def cells(entry: Entry, columns: Sequence[str]) -> list[str]:
    """What stands in a line; ``columns`` as ``header`` has them."""
    values = dict(entry.line.point)
    return [
        entry.line.row,
        *(values[name] for name in columns if name in values),
        *(value.percent for value in entry.auc.values()),
        "" if entry.paper_percent is None else f"{entry.paper_percent:.1f}",
        "" if entry.ms is None else f"{entry.ms:.1f}",
        "" if entry.frames_per_s is None else f"{entry.frames_per_s:.1f}",
        "" if entry.cameras is None else str(entry.cameras),
    ]


def caption(plan: Plan) -> str:
    """One sentence about all lines."""
    of = "compiled bundles" if plan.compiled else "runs in eager PyTorch"
    return (
        f"{plan.method.upper()} on {plan.data.name}, {of}, AUC in percent, mean ± deviation of {plan.seeds} "
        f"seed{'s' if plan.seeds > 1 else ''}; paper: as printed; ms: of the engine for a frame; cameras: of 25 frames/s, "
        "with decoding, on this machine"
    )


def markdown(plan: Plan, found: Sequence[Entry]) -> str:
    """The table for a document, with the arguments that make it again."""
    columns = header(plan, found)
    lines = [columns, ["---"] * len(columns), *(cells(entry, columns) for entry in found)]
    drawn = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    arguments = " ".join(plan.train_arguments)
    return f"{caption(plan)}.\n\nTrained with: `{arguments or 'defaults'}`\n\n{drawn}\n"


def rich_table(plan: Plan, found: Sequence[Entry]) -> Table:
    """The table for a terminal."""
    columns = header(plan, found)
    table = Table(title=escape(caption(plan)), title_justify="left")
    for name in columns:
        table.add_column(escape(name), justify="left" if name == "row" else "right", no_wrap=True)
    for entry in found:
        table.add_row(*(escape(text) for text in cells(entry, columns)))
    return table


def to_json(plan: Plan, found: Sequence[Entry]) -> dict[str, Any]:
    """The table for scripts; rates are fractions of 1, ``paper_percent`` is as printed."""
    return plan.fixed | {
        "compiled": plan.compiled,
        "seeds": plan.seeds,
        "lines": [
            {
                "row": entry.line.row,
                "point": dict(entry.line.point),
                "mean": {name: value.mean for name, value in entry.auc.items()},
                "deviation": {name: value.deviation for name, value in entry.auc.items()},
                "paper_percent": entry.paper_percent,
                "ms": entry.ms,
                "frames_per_s": entry.frames_per_s,
                "cameras": entry.cameras,
            }
            for entry in found
        ],
    }


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None
