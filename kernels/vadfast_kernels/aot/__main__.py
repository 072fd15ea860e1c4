"""The command: which kernels, for which architectures, and what to make of them."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import vadfast_kernels.aot as package
from vadfast_kernels.aot import builds, distinct, pack
from vadfast_kernels.aot.compiled import ARCHITECTURES
from vadfast_kernels.aot.compiling import compile_all
from vadfast_kernels.aot.table import table


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0; with ``--check`` 1 where a kernel does not fit; 2 on bad usage."""
    options = _parser().parse_args(arguments)
    if os.environ.get("TRITON_INTERPRET", "0") != "0":
        return _refuse("kernels are compiled only where TRITON_INTERPRET is not set: unset it")
    chosen = [build for build in distinct(builds()) if options.k in build.name]
    if not chosen:
        return _refuse(f"no kernel's name contains {options.k!r}: without -k all are compiled")
    if options.out is not None and options.out.exists() and any(options.out.iterdir()):
        return _refuse(
            f"--out must be a new or empty folder, {options.out} holds files: name another"
        )

    architectures = options.arch or ARCHITECTURES
    done = list(compile_all(chosen, architectures, options.processes))
    rows = [compiled.resources for _, compiled in done]
    if options.out is not None:
        pack.write(options.out, done)
    if options.table is not None:
        options.table.write_text(table(rows))
    if options.json:
        print(json.dumps([asdict(row) | {"faults": row.faults()} for row in rows], indent=1))
    n_faults = sum(len(row.faults()) for row in rows)
    print(f"{len(rows)} compiled, {n_faults} faults", file=sys.stderr)
    return 1 if options.check and n_faults else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m vadfast_kernels.aot", description=package.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--check", action="store_true", help="exit 1 on a spill or too much shared memory")
    add(
        "--arch",
        type=int,
        action="append",
        choices=ARCHITECTURES,
        help="only this; may be repeated",
    )
    add("-k", default="", metavar="TEXT", help="only kernels whose name contains TEXT")
    add("--json", action="store_true", help="one JSON document on stdout")
    add("--table", type=Path, metavar="FILE", help="write the table, Markdown")
    add("--out", type=Path, metavar="FOLDER", help="pack cubins, manifest and launcher")
    add("--processes", type=int, metavar="N", help="compile in N processes (default: all cores)")
    return parser


def _refuse(reason: str) -> int:
    print(f"error: {reason}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
