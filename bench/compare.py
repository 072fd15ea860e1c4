"""``python -m bench compare BASE NEW``: what became slower or worse than the noise allows.

Times are compared by their ratio to the reference provider of the same run, because that is what load and clocks leave alone:
a regression is a ratio whose whole 95 % interval lies below the old one's. The reference itself, which has no ratio, is not
judged. A target that was met and is missed now is a regression too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.results import Row, read_rows
from vadfast.errors import UsageError


@dataclass(frozen=True, slots=True)
class Change:
    """Two rows of the same key, and what is between them."""

    old: Row
    new: Row
    words: str
    regressed: bool


def compare(base: Path, new: Path) -> list[Change]:
    """Returns every row that both hold, in the order of ``new``; raises UsageError where they share none."""
    old_rows = {row.key: row for row in _read(base)}
    changes = [_change(old_rows[row.key], row) for row in _read(new) if row.key in old_rows]
    if not changes:
        raise UsageError(
            f"compare: {base} and {new} must share rows (suite, case, provider, shape, dtype), they share none; "
            "run the same suites"
        )
    return changes


def _read(path: Path) -> list[Row]:
    files: Sequence[Path] = [path]
    if path.is_dir():
        files = [p for p in sorted(path.glob("*.json")) if p.name != "machine.json"]
    return [row for file in files for row in read_rows(file)]


def _change(old: Row, new: Row) -> Change:
    if old.met and new.met is False:
        return Change(old, new, f"target {new.target} was met and is missed", True)
    if old.ratio is not None and new.ratio is not None:
        assert old.ratio_lo is not None
        assert new.ratio_hi is not None
        words = f"{old.ratio:.2f}x -> {new.ratio:.2f}x {new.reference}"
        return Change(old, new, words, new.ratio_hi < old.ratio_lo)
    if old.median_ms is not None and new.median_ms is not None:
        return Change(old, new, f"{old.median_ms:g} -> {new.median_ms:g} ms, not judged", False)
    return Change(old, new, f"{old.value} -> {new.value} {new.unit}", False)
