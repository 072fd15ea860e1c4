"""What a table is made of: its lines, the runs behind them, and the very commands that a person would type for each.

A line is a row of a paper's table (``l_acl``), or a row scored by one of its components alone (``full@psnr``), at one point of the
grid. Lines that differ in the component alone share their runs.
"""

import itertools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vadfast.errors import UsageError
from vadfast.methods import model_module

FULL = "full"  # the method as published: no row of an ablation
_MASKS = "--mask-folder"
# What the table itself says to vadfast.train.
_OWN = ("--method", "--ablation", "--seed", "--data", "--dataset", "--out", "--resume")

Point = tuple[tuple[str, str], ...]  # (option, value) of each axis of the grid


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table."""

    row: str
    point: Point

    @property
    def ablation(self) -> str:
        """The row that it is trained as."""
        return self.row.partition("@")[0]

    @property
    def component(self) -> str:
        """The component that it is scored by alone; empty: by the method's chain."""
        return self.row.partition("@")[2]


@dataclass(frozen=True, slots=True)
class Plan:
    """All that decides the numbers of a table, and where they are kept."""

    method: str
    data: Path
    dataset: str
    out: Path
    lines: tuple[Line, ...]
    seeds: int
    compiled: bool
    train_arguments: tuple[str, ...]

    def run(self, line: Line, seed: int) -> Path:
        """The run directory of a line and a seed."""
        return self.out / "runs" / _stem(line.ablation, line.point, seed)

    def report(self, line: Line, seed: int) -> Path:
        """The JSON of its evaluation."""
        folder = "reports-compiled" if self.compiled else "reports"
        return self.out / folder / f"{_stem(line.row, line.point, seed)}.json"

    def bundle(self, line: Line, seed: int) -> Path:
        """Its bundle, where the table is of bundles."""
        run = self.run(line, seed)
        return self.out / "bundles" / f"{run.name}.vad"

    def train(self, line: Line, seed: int) -> list[str]:
        """The command that trains it, or goes on where it was stopped."""
        run = self.run(line, seed)
        if (run / "run.toml").exists():
            return _command("train", "--out", str(run), "--resume")
        given = ["--method", self.method, "--data", str(self.data), "--dataset", self.dataset]
        given += ["--out", str(run), "--seed", str(seed)]
        if line.ablation != FULL:
            given += ["--ablation", line.ablation]
        # Last, so that the grid wins over what all lines share.
        settings = [part for name, value in line.point for part in ("--set", f"{name}={value}")]
        return _command("train", *given, *self._shared(line), *settings)

    def _shared(self, line: Line) -> list[str]:
        """The arguments of all lines; a folder of masks only for a line that reads them, which others refuse."""
        row = model_module(self.method).ABLATIONS.get(line.ablation, {})
        given = list(self.train_arguments)
        named = any(a == "mask" or a.endswith("attention=mask") for a in given)
        if named or "mask" in (row.get("attention"), dict(line.point).get("attention")):
            return given
        kept = [a for a in given if not a.startswith(f"{_MASKS}=")]
        if _MASKS in kept:
            at = kept.index(_MASKS)
            del kept[at : at + 2]
        return kept

    def compile(self, line: Line, seed: int) -> list[str]:
        """The command that makes its bundle."""
        return _command("compile", str(self.run(line, seed)), "--out", str(self.bundle(line, seed)))

    def evaluate(self, line: Line, seed: int) -> list[str]:
        """The command that evaluates it."""
        subject = self.bundle(line, seed) if self.compiled else self.run(line, seed)
        given = [str(subject), "--data", str(self.data), "--json", str(self.report(line, seed))]
        given += ["--only", line.component] if line.component else []
        given += ["--dataset", self.dataset] if self.dataset not in ("auto", "features") else []
        return _command("evaluate", *given)

    @property
    def fixed(self) -> dict[str, object]:
        """What all runs of a folder must share; rows, seeds and points may be added to it."""
        return {
            "method": self.method,
            "data": str(self.data),
            "dataset": self.dataset,
            "train_arguments": list(self.train_arguments),
        }


def make_lines(rows: str, known: Sequence[str], grid: Sequence[str]) -> tuple[Line, ...]:
    """Every row at every point of the grid.

    Raises:
        UsageError: a row is none of ``known``, or a grid is not NAME=VALUE,VALUE.
    """
    names = [row.strip() for row in rows.split(",") if row.strip()]
    for name in names or [""]:
        if name.partition("@")[0] not in (FULL, *known):
            raise UsageError(
                f"--rows must be of {', '.join((FULL, *known))} (each with @COMPONENT to score by one alone), got {name!r}"
            )
    axes = [_axis(text) for text in grid]
    doubled = [name for name, _ in axes if sum(name == other for other, _ in axes) > 1]
    if doubled:
        raise UsageError(
            f"--grid must name each option once, got {doubled[0]!r} twice; list its values after one ="
        )
    points = [
        tuple(zip((name for name, _ in axes), values, strict=True))
        for values in itertools.product(*(values for _, values in axes))
    ]
    return tuple(Line(row, point) for row in names for point in points)


def check_train_arguments(arguments: Sequence[str]) -> tuple[str, ...]:
    """Returns the arguments for vadfast.train; raises UsageError for one that the table gives itself."""
    for argument in arguments:
        if argument.partition("=")[0] in _OWN:
            raise UsageError(
                f"{argument} after -- is given by the table itself; use its own --method, --rows, --seeds, --data and --out"
            )
    return tuple(arguments)


def check_same(fixed: Mapping[str, object], stored: Mapping[str, object], folder: Path) -> None:
    """Raises UsageError where the runs in ``folder`` were made otherwise."""
    for name, value in fixed.items():
        if stored.get(name) != value:
            raise UsageError(
                f"--out {folder}: holds runs with {name} = {stored.get(name)}, got {value}; name another folder for them"
            )


def _axis(text: str) -> tuple[str, list[str]]:
    name, equals, values = text.partition("=")
    listed = [value.strip() for value in values.split(",")]
    if not (name and equals and all(listed)):
        raise UsageError(f"--grid must be NAME=VALUE,VALUE, as width=8,16, got {text!r}")
    return name, listed


def _stem(row: str, point: Point, seed: int) -> str:
    return "-".join([row, *(f"{name}-{value}" for name, value in point), f"seed-{seed}"])


def _command(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", f"vadfast.{name}", *arguments]
