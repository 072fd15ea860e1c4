"""Several runs of one method side by side: each number's mean, and how far seeds move it.

On a dozen test videos one seed more or less moves an AUC by a point or two, so that a number without its spread says little.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vadfast.evaluate.report import percent


@dataclass(frozen=True, slots=True)
class Spread:
    """Of the same number in several runs."""

    mean: float
    deviation: float  # standard deviation of the runs, n - 1; 0 of a single one
    n: int

    @property
    def percent(self) -> str:
        """Both as percents, ``96.01 ± 0.42``; the mean alone of a single run."""
        if self.n == 1:
            return percent(self.mean)
        return f"{percent(self.mean)} ± {percent(self.deviation)}"


def spread(values: Sequence[float]) -> Spread:
    """Mean and standard deviation of at least one value.

    >>> spread([0.94, 0.96]).percent
    '95.00 ± 1.41'
    """
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return Spread(float(np.mean(values)), deviation, len(values))


def rates(report: Mapping[str, Any]) -> dict[str, float]:
    """The fractions of a report's JSON that exist, by name: every AUC, EER, AP, and the spatial ones."""
    found = {**report["auc"], "eer": report["eer"], "ap": report["ap"]}
    if report.get("spatial") is not None:
        spatial = report["spatial"]
        names = ("pixel_level", "dual_pixel", "per_pixel")
        found |= {name: spatial[name] for name in names}
        found |= {name: spatial["regions"][name] for name in ("rbdc", "tbdc")}
    return {name: value for name, value in found.items() if value is not None}


def spreads(reports: Sequence[Mapping[str, Any]]) -> dict[str, Spread]:
    """The spread of each rate that every report has."""
    of_each = [rates(report) for report in reports]
    shared = [name for name in of_each[0] if all(name in of_one for of_one in of_each)]
    return {name: spread([of_one[name] for of_one in of_each]) for name in shared}


def of_one_method(reports: Sequence[Mapping[str, Any]]) -> bool:
    """Whether ``reports`` differ by seeds at most, and not by what was trained: else their mean is a number of nothing."""
    return len({report["subject"]["method"] for report in reports}) == 1


def print_spreads(console: Console, reports: Sequence[Mapping[str, Any]]) -> None:
    """Prints a column for each run, and, of one method, mean and deviation."""
    table = Table(title=f"{len(reports)} runs, %", title_justify="left", title_style="bold")
    table.add_column("metric", no_wrap=True)
    for report in reports:
        table.add_column(escape(report["subject"]["path"].rsplit("/", 1)[-1]), justify="right")
    alike = of_one_method(reports)
    if alike:
        table.add_column("mean ± deviation", justify="right", no_wrap=True)
    for name, of_all in spreads(reports).items():
        values = [percent(rates(report)[name]) for report in reports]
        table.add_row(name, *values, *([of_all.percent] if alike else []))
    console.print(table)


def spreads_json(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The reports of all runs, and, of one method, of each rate its mean and standard deviation."""
    found = spreads(reports) if of_one_method(reports) else {}
    return {
        "runs": list(reports),
        "mean": {name: value.mean for name, value in found.items()},
        "deviation": {name: value.deviation for name, value in found.items()},
    }
