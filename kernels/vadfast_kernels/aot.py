"""``python -m vadfast_kernels.aot``: compiles every Triton kernel for named GPU architectures on a machine that has none.

A spill, or more shared memory than an architecture has, fails: what is shipped was seen to fit. The process must not be one in
which ``TRITON_INTERPRET`` is set, because kernels are then no longer compiled.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

ARCHITECTURES = (80, 86, 87, 89, 90, 100, 120)
# Shared memory that one block may ask for, KiB.
SHARED_KIB = {80: 163, 86: 99, 87: 163, 89: 99, 90: 227, 100: 227, 120: 99}
_NEWEST_FOR_PTXAS = 90  # newer targets need the second ptxas of Triton's wheel
# How signatures name what kernels compute in.
DTYPES = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}


@dataclass(frozen=True, slots=True)
class Build:
    """One kernel as one call compiles it: argument types by name, constants by name, launch options."""

    name: str
    kernel: Any
    types: dict[str, str]
    constants: dict[str, Any]
    n_warps: int
    n_stages: int


@dataclass(frozen=True, slots=True)
class Resources:
    """What a compiled kernel takes."""

    build: str
    architecture: int
    registers: int
    spill_bytes: int
    shared_bytes: int
    cubin_bytes: int

    def faults(self) -> list[str]:
        """Returns what must not be."""
        faults = []
        if self.spill_bytes:
            faults.append(f"spills {self.spill_bytes} bytes of registers")
        limit = SHARED_KIB[self.architecture] * 1024
        if self.shared_bytes > limit:
            faults.append(f"needs {self.shared_bytes} bytes of shared memory, {limit} are there")
        return faults


def build(
    name: str, kernel: Any, types: dict[str, str], constants: dict[str, Any], n_warps: int, n_stages: int
) -> Build:  # fmt: skip
    """Returns the build of ``kernel`` where an argument that ``types`` leaves out is float32 if it is a ``_ptr``, else an integer."""
    usual = {n: "*fp32" if n.endswith("_ptr") else "i32" for n in kernel.arg_names}
    return Build(name, kernel, usual | types, constants, n_warps, n_stages)


def compile_build(build: Build, architecture: int) -> Resources:
    """Compiles ``build`` as a launch with well-aligned arguments would."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    names = build.kernel.arg_names
    signature = {n: "constexpr" if n in build.constants else build.types[n] for n in names}
    aligned = {
        (i,): [["tt.divisibility", 16]] for i, n in enumerate(names) if signature[n].startswith("*")
    }
    source = ASTSource(
        fn=build.kernel, signature=signature, constexprs=build.constants, attrs=aligned
    )
    options = {"num_warps": build.n_warps, "num_stages": build.n_stages}
    compiled = triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=options)
    registers, spills = _assemble(compiled.asm["ptx"], architecture)
    return Resources(
        build.name,
        architecture,
        registers,
        spills,
        compiled.metadata.shared,
        len(compiled.asm["cubin"]),
    )


def builds() -> Iterator[Build]:
    """Yields every kernel in every configuration that ``bench/shapes.py`` and the tests reach."""
    from vadfast_kernels.attention_loss.builds import builds as attention_loss
    from vadfast_kernels.criss_cross_attention.builds import builds as criss_cross_attention
    from vadfast_kernels.prototype_attention.builds import builds as prototype_attention
    from vadfast_kernels.variance_attention.builds import builds as variance_attention

    yield from attention_loss()
    yield from criss_cross_attention()
    yield from prototype_attention()
    yield from variance_attention()


def _assemble(ptx: str, architecture: int) -> tuple[int, int]:
    """Returns (registers, spilt bytes) that ptxas reports for ``ptx``."""
    import triton

    folder = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
    ptxas = folder / ("ptxas" if architecture <= _NEWEST_FOR_PTXAS else "ptxas-blackwell")
    target = re.search(r"^\.target (\S+?)(,|\s)", ptx, re.MULTILINE)
    if target is None:
        raise RuntimeError("triton wrote PTX without a .target line")
    with tempfile.NamedTemporaryFile("w", suffix=".ptx") as file:
        file.write(ptx)
        file.flush()
        command = [str(ptxas), "-v", f"-arch={target[1]}", file.name, "-o", "/dev/null"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    registers = re.search(r"Used (\d+) registers", done.stderr)
    spills = re.findall(r"(\d+) bytes spill", done.stderr)
    if registers is None:
        raise RuntimeError(f"ptxas did not say how many registers it used: {done.stderr[-300:]}")
    return int(registers[1]), sum(map(int, spills))


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a line per kernel and architecture; returns 1 where one does not fit."""
    parser = argparse.ArgumentParser(prog="python -m vadfast_kernels.aot", description=__doc__)
    parser.add_argument(
        "--arch",
        type=int,
        action="append",
        choices=ARCHITECTURES,
        help="only this one; may be repeated",
    )
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument(
        "-k", default="", metavar="TEXT", help="only kernels whose name contains TEXT"
    )
    options = parser.parse_args(arguments)
    rows, n_faults = [], 0
    for each in builds():
        if options.k not in each.name:
            continue
        for architecture in options.arch or ARCHITECTURES:
            found = compile_build(each, architecture)
            faults = found.faults()
            n_faults += len(faults)
            rows.append(asdict(found) | {"faults": faults})
            words = "; ".join(faults) or "fits"
            print(
                f"sm_{architecture:<4}{each.name:<70}{found.registers:>4} registers "
                f"{found.shared_bytes:>7} B shared  {words}",
                file=sys.stderr,
                flush=True,
            )
    if options.json:
        print(json.dumps(rows, indent=1))
    return 1 if n_faults else 0


if __name__ == "__main__":
    sys.exit(main())
