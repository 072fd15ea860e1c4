"""What a compile run tells: a table of winners and losers with reasons, and the same as JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from vadfast.cli import talk
from vadfast.compile.false_alarms import MIN_PEAKS
from vadfast.race import short_ms
from vadfast.runtime.engine import n_cpus

_ENOUGH_ROUNDS = 15
_ENOUGH_FOR_P99 = 100  # rounds; with fewer, one in a hundred is the slowest of all, and called so


@dataclass(frozen=True, slots=True)
class Row:
    """One candidate; a number is None where it never came so far, and ``reason`` says why. Milliseconds are of a call of ``batch`` windows."""

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
    # Of the rounds, as ``median_ms`` (the 50 % quantile): what ``quantiles_ms`` says.
    n_rounds: int = 0
    p90_ms: float | None = None
    p99_ms: float | None = None
    max_ms: float | None = None
    # What it raced with; None: the library's own number, and its own way.
    threads: int | None = None
    pinned: bool | None = None  # whether each thread keeps its CPU

    def a_window(self, ms: float | None) -> float | None:
        """Returns of milliseconds a call those a window."""
        return None if ms is None else ms / self.batch


@dataclass(frozen=True, slots=True)
class Report:
    """The result of ``build_bundle``; where the gate let nothing through, ``bundle`` is None and nothing was calibrated."""

    bundle: Path | None
    eager_ms: float
    race: tuple[Row, ...]
    gate: dict[str, Any]
    load: float
    load_after: float
    notes: tuple[str, ...] = ()  # what a user should know of what ships
    calibration: dict[str, Any] = field(default_factory=dict)
    alert: dict[str, Any] = field(default_factory=dict)
    size: int = 0  # bytes of the bundle
    signer: str = ""  # fingerprint of the key

    def to_json(self) -> dict[str, Any]:
        """Returns the document of ``--json``."""
        document = asdict(self)
        document["bundle"] = None if self.bundle is None else str(self.bundle)
        document["race"] = [
            asdict(row) | {"window_ms": row.a_window(row.median_ms)} for row in self.race
        ]
        return document


def print_report(report: Report, console: Console) -> None:
    """Prints the race, the gate and the calibration."""
    console.print(race_table(report.race, load=(report.load, report.load_after)))
    for note in report.notes:
        console.print(f"note: {note}", soft_wrap=True, markup=False)
    console.print(gate_words(report.gate), soft_wrap=True)
    console.print(int8_words(report.gate["int8"]), soft_wrap=True, markup=False)
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
    console.print(false_alarm_words(report.calibration), soft_wrap=True, markup=False)
    if words := alert_words(report.gate):
        console.print(f"alerts: {words}", soft_wrap=True, markup=False)


def alert_words(gate: dict[str, Any]) -> str:
    """Returns how many labelled spans of the gate would raise an alert; nothing where none is labelled."""
    spans = gate.get("labelled_spans")  # a run that shipped nothing has no threshold
    if not spans or not spans["n"]:
        return ""
    return (
        f"{spans['alerted']} of {spans['n']} labelled spans in the gate's windows would raise one"
    )


def quantiles_ms(round_ms: Sequence[float]) -> dict[str, Any]:
    """Returns how the rounds of a race spread, under the names of ``Row``: the 90 % quantile and the slowest; the 99 % quantile of 100 rounds or more.

    A round is one call, or the mean of as many as fill 20 ms.

    >>> quantiles_ms([1.0, 2.0, 3.0])
    {'p90_ms': 2.8, 'p99_ms': None, 'max_ms': 3.0}
    """
    if not round_ms:
        return dict.fromkeys(("p90_ms", "p99_ms", "max_ms"))
    p90, p99 = np.quantile(round_ms, (0.9, 0.99))
    return {
        "p90_ms": float(p90),
        "p99_ms": float(p99) if len(round_ms) >= _ENOUGH_FOR_P99 else None,
        "max_ms": max(round_ms),
    }


def note_load(rounds: int, load: float) -> None:
    """Says before the race that it will be uncertain: few rounds, on a machine that does something else."""
    if rounds < _ENOUGH_ROUNDS and load > n_cpus():
        talk.print(
            f"note: {rounds} rounds at a load average of {load:.1f} on {n_cpus()} CPUs make the race uncertain; run it again on an idle machine, "
            f"or with --rounds {_ENOUGH_ROUNDS}"
        )


def named_ties(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Returns the rows, where the first that ships of a batch says so if the next one may be as fast: their intervals overlap."""
    named = list(rows)
    for batch in {row.batch for row in rows}:
        shipped = [i for i, row in enumerate(rows) if row.shipped and row.batch == batch]
        shipped.sort(key=lambda i: rows[i].median_ms or 0.0)
        if len(shipped) < 2:
            continue
        first, second = rows[shipped[0]], rows[shipped[1]]
        assert first.hi_ms is not None  # what ships has raced
        assert second.lo_ms is not None
        if second.lo_ms <= first.hi_ms:
            tie = f"{first.reason}; a tie with {second.backend} {second.precision}: their 95 % intervals overlap"
            named[shipped[0]] = replace(first, reason=tie)
    return tuple(named)


def false_alarm_words(calibration: dict[str, Any]) -> str:
    """Returns how many false alarms a day the rule is expected to raise, and how far that is extrapolated."""
    alarms, tail = calibration["false_alarms"], calibration["tail"]
    if tail is None:
        return f"false alarms: unknown, the scores of normal video peak fewer than {MIN_PEAKS} times; give longer normal video by --calibrate DIR"
    if alarms is None:
        return "false alarms: unknown, the video has no frame rate; give it by --fps"
    return (
        f"false alarms: {_rate(alarms['per_day'])} a day per camera at {alarms['fps']:g} frames/s, 95 % {_rate(alarms['lo'])} to "
        f"{_rate(alarms['hi'])}; from {tail['n_peaks']} peaks in {_duration(alarms['hours_seen'])} of normal video"
    )


def _rate(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def _duration(hours: float) -> str:
    return f"{hours:.1f} hours" if hours >= 1 else f"{60 * hours:.2g} minutes"


def race_table(rows: Sequence[Row], *, load: tuple[float, float]) -> Group:
    """Returns the race of each batch, fastest first, and below it the reason of each row; fits 80 columns."""
    batches = sorted({row.batch for row in rows})
    return Group(*(_one_race([r for r in rows if r.batch == batch], load) for batch in batches))


def _one_race(rows: Sequence[Row], load: tuple[float, float]) -> Group:
    eager_ms = next((r.median_ms for r in rows if r.backend == "eager" and r.median_ms), None)
    table = Table(
        title=f"race at batch {rows[0].batch}; load average {load[0]:.1f} before, {load[1]:.1f} after",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        show_edge=False,  # the widest interval then fits into 80 columns
        pad_edge=False,
    )
    table.add_column("candidate", no_wrap=True)
    for name in (r"ms a window \[95 %]", "vs eager", "error", "ΔAUC", "ships"):
        table.add_column(name, justify="right", no_wrap=True)
    reasons = []
    shipped = 0
    for row in sorted(rows, key=lambda r: float("inf") if r.median_ms is None else r.median_ms):
        shipped += row.shipped
        ran = row.median_ms is not None
        table.add_row(
            f"{row.backend} {row.precision}",
            "{} \\[{}, {}]".format(
                *(_ms(row.a_window(ms)) for ms in (row.median_ms, row.lo_ms, row.hi_ms))
            )
            if ran
            else "-",
            f"{eager_ms / row.median_ms:.2f}x" if row.median_ms and eager_ms else "-",
            "-" if row.max_score_error is None else f"{row.max_score_error:.2g}",
            "-" if row.delta_auc is None else f"{row.delta_auc:+.4f}",
            str(shipped) if row.shipped else "no",
            style="bold" if row.shipped else None,
        )
        reasons.append(Text(f"{row.backend} {row.precision}: {row.reason}"))
    return Group(table, *reasons)


def gate_words(gate: dict[str, Any]) -> str:
    """Returns on what the candidates were judged, and the bounds of each precision that was."""
    labels = gate["labels"] or "no labels, so no AUC"
    alike: dict[str, list[str]] = {}
    for precision, b in gate["bounds"].items():
        errors = ", ".join(f"{value:g} {unit}" for unit, value in b["score_error"].items())
        words = f"score error {errors}, correlation {b['correlation']:g}, AUC {b['auc']:g}, heat map {b['heatmap']:g}, alerts {b['alerts']:.0%}"
        alike.setdefault(words, []).append(precision)
    bounds = "; ".join(f"{', '.join(names)}: {words}" for words, names in alike.items())
    return (
        f"gate: {gate['n_windows']} real windows against eager float32 ({labels}); bounds {bounds}"
    )


def int8_words(int8: dict[str, Any]) -> str:
    """Returns how much of the model is in 8 bits, or why nothing is."""
    if int8["refused"]:
        return f"int8: none, {int8['refused']}"
    n, kept = int8["n_layers"], int8["kept"]
    rest = f"; the gate keeps in float: {', '.join(kept)}" if kept else ""
    return f"int8: {n - len(kept)} of {n} convolutions{rest}"


def _ms(value: float | None) -> str:
    return "-" if value is None else short_ms(value)
