"""Compiles a build for an architecture that need not be here, and reads from the cubin what it takes.

What is counted is the cubin that ships, not a second assembly of it. It holds no line numbers, and so no path of this machine.
"""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vadfast_kernels.aot import sass
from vadfast_kernels.aot.build import Build

# Shared memory that one block may ask for, KiB.
SHARED_KIB = {80: 163, 86: 99, 87: 163, 89: 99, 90: 227, 100: 227, 120: 99}
ARCHITECTURES = tuple(SHARED_KIB)


@dataclass(frozen=True, slots=True)
class Resources:
    """What a compiled kernel takes, and what it is made of."""

    build: str
    architecture: int
    registers: int
    spill_bytes: int  # of local memory a thread: what did not fit into registers
    shared_bytes: int
    cubin_bytes: int
    facts: sass.Facts | None  # None where there is no disassembler

    def faults(self) -> list[str]:
        """Returns what must not be."""
        faults = []
        if self.spill_bytes:
            faults.append(f"spills {self.spill_bytes} bytes of registers")
        limit = SHARED_KIB[self.architecture] * 1024
        if self.shared_bytes > limit:
            faults.append(f"needs {self.shared_bytes} bytes of shared memory, {limit} are there")
        return faults


@dataclass(frozen=True, slots=True)
class Compiled:
    """A cubin, what Triton says of it, and what it takes."""

    cubin: bytes
    ptx: str
    metadata: dict[str, Any]
    resources: Resources


def compile_build(build: Build, architecture: int) -> Compiled:
    """Compiles ``build`` for ``architecture``; Triton's cache keeps it."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    aligned = {
        (i,): [["tt.divisibility", 16]]
        for i, n in enumerate(build.kernel.arg_names)
        if n in build.multiples
    }
    source = ASTSource(
        fn=build.kernel, signature=build.types, constexprs=build.constants, attrs=aligned
    )
    options = {
        "num_warps": build.n_warps, "num_stages": build.n_stages, "maxnreg": build.max_registers,
    }  # fmt: skip
    with _without_line_numbers():
        target = GPUTarget("cuda", architecture, 32)
        made = triton.compile(source, target=target, options=options)
    cubin, metadata = made.asm["cubin"], made.metadata._asdict()
    with _stored(cubin) as file:
        registers, spills = _usage(file)
        facts = sass.facts(file)
    resources = Resources(
        build.name, architecture, registers, spills, metadata["shared"], len(cubin), facts
    )
    return Compiled(cubin, made.asm["ptx"], metadata, resources)


@contextmanager
def _without_line_numbers() -> Iterator[None]:
    from triton import knobs

    with knobs.compilation.scope():
        knobs.compilation.disable_line_info = True
        yield


@contextmanager
def _stored(cubin: bytes) -> Iterator[Path]:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        yield Path(file.name)


def _usage(cubin: Path) -> tuple[int, int]:
    """Returns (registers, bytes of local memory) of the one kernel in ``cubin``."""
    command = [str(sass.tool("cuobjdump")), "-res-usage", str(cubin)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return sass.number(said, r"\bREG:(\d+)"), sass.number(said, r"\bSTACK:(\d+)")
