"""``python -m bench compare BASE NEW``: what became slower or worse than the noise allows.

Times are compared by their ratio to the reference provider of the same run, because that is what load and clocks leave alone:
a regression is a ratio whose whole 95 % interval lies below the old one's. The reference itself, which has no ratio, is not
judged. A target that was met and is missed now is a regression too, and so is a provider that lost its number. Other values
(an AUC without a target, a size) are shown and not judged: nothing says what their noise is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.report import value_words
from bench.results import Row, read_rows
from vadfast.errors import UsageError


@dataclass(frozen=True, slots=True)
class Change:
    """Two rows of the same key, and what is between them; ``new`` is ``old`` where the row is gone."""

    old: Row
    new: Row
    words: str
    regressed: bool


def compare(base: Path, new: Path) -> list[Change]:
    """Returns a change for every row of ``base`` whose case was run again; raises UsageError where none was."""
    new_rows = {row.key: row for row in _read(new)}
    again = {key[:2] for key in new_rows}
    changes = [_change(row, new_rows.get(row.key)) for row in _read(base) if row.key[:2] in again]
    if not changes:
        raise UsageError(
            f"compare: {base} and {new} must share cases, they share none; run the same suites"
        )
    return changes


def _read(path: Path) -> list[Row]:
    files: Sequence[Path] = [path]
    if path.is_dir():
        files = [p for p in sorted(path.glob("*.json")) if p.name != "machine.json"]
    return [row for file in files for row in read_rows(file)]


def _change(old: Row, new: Row | None) -> Change:
    if new is None or (old.has_number and not new.has_number):
        why = f": {new.note}" if new is not None else ""
        return Change(old, new or old, f"has no number any more{why}", old.has_number)
    if old.met and new.met is False:
        return Change(old, new, f"target {new.target} was met and is missed", True)
    if old.ratio is not None and new.ratio is not None:
        assert old.ratio_lo is not None
        assert new.ratio_hi is not None
        words = f"{old.ratio:.2f}x -> {new.ratio:.2f}x {new.reference}"
        return Change(old, new, words, new.ratio_hi < old.ratio_lo)
    return Change(old, new, f"{value_words(old)} -> {value_words(new)}, not judged", False)
