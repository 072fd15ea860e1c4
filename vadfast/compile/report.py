"""What a compile run tells: a table of winners and losers with reasons, and the same as JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from vadfast.compile.gate import BOUNDS


@dataclass(frozen=True, slots=True)
class Row:
    """One candidate; a number is None where it never came so far, and ``reason`` says why."""

    backend: str
    precision: str
    batch: int
    median_ms: float | None = None
    lo_ms: float | None = None
    hi_ms: float | None = None
    max_score_error: float | None = None
    delta_auc: float | None = None
    shipped: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """The result of ``build_bundle``; ``bundle`` is None where nothing was written."""

    bundle: Path | None
    eager_ms: float
    race: tuple[Row, ...]
    gate: dict[str, Any]
    load: float
    load_after: float
    calibration: dict[str, Any]
    alert: dict[str, Any]
    size: int  # bytes of the bundle

    def to_json(self) -> dict[str, Any]:
        """Returns the document of ``--json``."""
        document = asdict(self)
        document["bundle"] = None if self.bundle is None else str(self.bundle)
        document["race"] = [asdict(row) for row in self.race]
        return document


def print_report(report: Report, console: Console) -> None:
    """Prints the race, the gate and the calibration."""
    console.print(race_table(report.race, report.eager_ms, load=(report.load, report.load_after)))
    console.print(gate_words(report.gate), soft_wrap=True)
    alert, quantiles = report.alert, report.calibration["score_quantiles"]
    console.print(
        f"calibration: {report.calibration['n_frames']} frames of {report.calibration['source']}; causal score "
        f"median {quantiles['0.5']:.2f}, 99 % {quantiles['0.99']:.2f}",
        soft_wrap=True,
        markup=False,
    )
    console.print(
        f"alert: raised when {alert['raise_count']} of {alert['raise_window']} scores exceed {alert['threshold']:.2f}, "
        f"cleared after {alert['clear_count']} below {alert['clear_threshold']:.2f}",
        soft_wrap=True,
    )


def race_table(rows: Sequence[Row], eager_ms: float, *, load: tuple[float, float]) -> Table:
    """Returns the race, fastest first, refused ones last."""
    table = Table(
        title=f"race (medians with 95 % intervals; load average {load[0]:.1f} before, {load[1]:.1f} after)",
        title_justify="left",
    )
    for name, right in (
        ("backend", False),
        ("precision", False),
        ("batch", True),
        ("median ms", True),
        ("vs eager", True),
        ("max score error", True),
        ("ΔAUC", True),
        ("shipped / reason", False),
    ):
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for row in sorted(
        rows, key=lambda row: float("inf") if row.median_ms is None else row.median_ms
    ):
        table.add_row(
            row.backend,
            row.precision,
            str(row.batch),
            "-"
            if row.median_ms is None
            else f"{row.median_ms:.2f} \\[{row.lo_ms:.2f}, {row.hi_ms:.2f}]",
            "-" if row.median_ms is None else f"{eager_ms / row.median_ms:.2f}x",
            "-" if row.max_score_error is None else f"{row.max_score_error:.2g}",
            "-" if row.delta_auc is None else f"{row.delta_auc:+.4f}",
            f"[green]shipped[/]: {row.reason}" if row.shipped else row.reason,
            style="bold" if row.shipped else None,
        )
    return table


def gate_words(gate: dict[str, Any]) -> str:
    """Returns on what the candidates were judged, and the bounds of each precision."""
    labels = gate["labels"] or "no labels, so no AUC"
    bounds = "; ".join(
        f"{precision}: score error "
        + ", ".join(f"{value:g} {unit}" for unit, value in b.score_error.items())
        + f", correlation {b.correlation:g}, AUC {b.auc:g}, heat map {b.heatmap:g}"
        for precision, b in BOUNDS.items()
    )
    return (
        f"gate: {gate['n_windows']} real windows against eager float32 ({labels}); bounds {bounds}"
    )
