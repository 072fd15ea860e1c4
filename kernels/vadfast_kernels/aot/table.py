"""The table of ``docs/kernels.md``: a row for each kernel in each configuration, written by the command and never by hand."""

import datetime
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from itertools import groupby

from vadfast_kernels.aot import sass
from vadfast_kernels.aot.compiled import SHARED_KIB, Resources

_COLUMNS = ("kernel and configuration", "registers", "shared KiB", "spills", "matrix", "fma", "128-bit loads", "copies", "barriers")  # fmt: skip

_HEAD = """# What the kernels take

Compiled, not run: {n_kernels} kernels for {architectures} by triton {triton} on {date}, with {n_faults} faults (a spill, or more
shared memory than a block may have: {limits}). Written by `python -m vadfast_kernels.aot --table docs/kernels.md`;
do not edit. `python -m vadfast_kernels.aot --check` fails on a fault.

Each row is one launch of an operator's Triton backend at a shape of `bench/shapes.py` or of the tests, specialised as Triton would on a
GPU. Launches that Triton does not tell apart are listed once, under the first name. A cell is one number where all architectures agree,
else the range over them; where kinds differ each is named with its architectures.

| column | what it says |
|---|---|
| registers | of a thread; 255 is the limit |
| shared KiB | of a block, dynamic |
| spills | bytes of local memory a thread; anything but 0 is a fault |
| matrix | tensor-core instructions: HMMA, HGMMA on sm_90, UTCHMMA on sm_100; `-`: none |
| fma | FFMA: float32 products outside the tensor cores |
| 128-bit loads | of all loads from global memory, those of 16 bytes a thread |
| copies | loads to shared memory that run beside the arithmetic (LDGSTS, or TMA) |
| barriers | places where all warps of a block wait |

Counts are places in the GPU's code, not executions. What is not listed was not compiled for this table. {atomics}
"""


def table(rows: Sequence[Resources]) -> str:
    """Returns the document."""
    architectures = sorted({row.architecture for row in rows})
    kernels = {name: list(group) for name, group in groupby(rows, lambda row: row.build)}
    n_faults = sum(len(row.faults()) for row in rows)
    parts = [
        _HEAD.format(
            n_kernels=len(kernels),
            architectures=", ".join(f"sm_{a}" for a in architectures),
            triton=version("triton"),
            date=datetime.date.today().isoformat(),
            n_faults=n_faults,
            limits=", ".join(f"{SHARED_KIB[a]} KiB on sm_{a}" for a in architectures),
            atomics=_atomics(rows),
        )
    ]
    by_operator: dict[str, list[str]] = {}  # operators alternate among the builds
    for name in kernels:
        by_operator.setdefault(name.split()[0], []).append(name)
    for operator, names in by_operator.items():
        parts.append(f"\n## {operator}\n\n{_line(_COLUMNS)}{_line(['---'] * len(_COLUMNS))}")
        parts += [_line(_cells(name, operator, kernels[name])) for name in names]
    faults = [
        f"- `{row.build}` on sm_{row.architecture} {fault}"
        for row in rows
        for fault in row.faults()
    ]
    return "".join([*parts, "\n## Faults\n\n", "\n".join(faults) or "None.", "\n"])


def _cells(name: str, operator: str, rows: list[Resources]) -> list[str]:
    facts = {row.architecture: row.facts for row in rows if row.facts is not None}
    return [
        name.removeprefix(operator).strip(),
        _span(row.registers for row in rows),
        _span(round(row.shared_bytes / 1024, 1) for row in rows),
        _span(row.spill_bytes for row in rows),
        _named({a: " ".join(f.matrix) or "-" for a, f in facts.items()}),
        _span(f.fma for f in facts.values()),
        f"{_span(f.wide for f in facts.values())} of {_span(f.loads for f in facts.values())}",
        _span(f.copies for f in facts.values()),
        _span(f.barriers for f in facts.values()),
    ]


def _span(values: Iterable[float]) -> str:
    """``7`` or ``7-9``; ``?`` where there was no disassembler."""
    found = sorted(set(values))
    return "-".join(f"{v:g}" for v in (found[0], found[-1])[: len(found)]) if found else "?"


def _named(by_architecture: dict[int, str]) -> str:
    """What all share, or ``HMMA; HGMMA on 90``: what most have, then who differs."""
    if not by_architecture:
        return "?"
    usual = Counter(by_architecture.values()).most_common(1)[0][0]
    others = [f"{what} on {a}" for a, what in by_architecture.items() if what != usual]
    return "; ".join([usual, *others])


def _atomics(rows: Sequence[Resources]) -> str:
    n = sum(row.facts.atomics for row in rows if row.facts is not None)
    if any(row.facts is None for row in rows):
        return f"`?`: {sass.absent()}."
    return f"Atomic operations in all of them: {n}."


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |\n"
