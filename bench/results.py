"""Result rows: one measured or predicted number each, kept as JSON under ``bench/results/<device>/<suite>.json``.

A file holds the newest row of every key; running one case again replaces that case's rows and leaves the others.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from vadfast.atomic import write_text
from vadfast.errors import UsageError

ROOT = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One number. Times have ``median_ms``; everything else has ``value`` and ``unit``; a provider that could not run, neither.

    ``ratio`` is the reference provider's median over this one's (above 1: faster than the reference), with the 95 %
    bootstrap interval over paired rounds.
    """

    suite: str
    case: str
    provider: str
    shape: str = ""
    axis: str = ""  # what grows from row to row of a scaling case, with its unit: "side [px]"
    at: float | None = None  # this row's place on that axis
    dtype: str = ""
    median_ms: float | None = None
    q20_ms: float | None = None
    q80_ms: float | None = None
    ratio: float | None = None
    ratio_lo: float | None = None
    ratio_hi: float | None = None
    reference: str = ""
    value: float | None = None
    unit: str = ""
    peak_mb: float | None = None  # by how much one call raises the memory of its process at most
    gflop: float | None = None  # least work of one call, whatever the provider does
    mbyte: float | None = None  # least traffic: inputs read once, outputs written once
    copy_gb_s: float | None = None  # this device's rates, measured in the same session
    matrix_gflop_s: float | None = None
    roofline: float | None = None  # share of what those rates allow
    verified: str = ""  # what was checked, and how close it came; empty: nothing could be checked
    rounds: int | None = None
    kind: Literal["measured", "predicted", "dry run"] = "measured"
    device: str
    date: str
    commit: str
    load: float  # load average when the measurement began
    steal: float | None = (
        None  # share of CPU time that the host gave to other guests during the rounds
    )
    target: str = ""  # what had to be reached, in words: ">= 1.6x eager"
    met: bool | None = None  # None: there was no target
    note: str = ""  # why a provider did not run, how a peer was set, over what a value was taken
    command: str = ""

    @property
    def has_number(self) -> bool:
        """False for a provider that did not run."""
        return self.median_ms is not None or self.value is not None

    @property
    def key(self) -> tuple[str, ...]:
        """Two rows with the same key measure the same thing."""
        place = "" if self.at is None else f"{self.axis} {self.at:g}"
        return self.suite, self.case, self.provider, self.shape, place


def read_rows(path: Path) -> list[Row]:
    """Reads a result file.

    Raises:
        UsageError: it is not JSON, or a row has keys that a ``Row`` has not.
    """
    try:
        document: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        return [Row(**row) for row in document]
    except (OSError, ValueError, TypeError) as error:
        known = ", ".join(field.name for field in fields(Row))
        raise UsageError(
            f"{path}: must be a JSON list of rows ({known}), cannot be read ({error})"
        ) from error


def write_rows(rows: Iterable[Row], folder: Path) -> list[Path]:
    """Merges ``rows`` into the files of their suites in ``folder``; returns the files."""
    by_suite: dict[str, list[Row]] = {}
    for row in rows:
        by_suite.setdefault(row.suite, []).append(row)
    written = []
    for suite, new in by_suite.items():
        path = folder / f"{suite}.json"
        old = read_rows(path) if path.exists() else []
        # A case that is run again is run whole: a provider that is gone from it must not linger.
        cases = {row.case for row in new}
        _write(path, [row for row in old if row.case not in cases] + new)
        written.append(path)
    return written


def _write(path: Path, rows: Sequence[Row]) -> None:
    lines = ",\n".join(
        json.dumps({k: v for k, v in asdict(row).items() if v not in (None, "")}) for row in rows
    )
    write_text(path, f"[\n{lines}\n]\n")
