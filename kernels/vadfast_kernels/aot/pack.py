"""A folder that a machine without torch and Triton can run: cubins, ``manifest.json`` and ``launcher.py``.

The same kernels, Triton and ptxas give the same bytes: cubins hold no path and no time, and entries are in a fixed order. The manifest
says of each kernel what a launch needs::

    name, architecture     what the launcher chooses by
    file, sha256, symbol   the cubin, its hash, and the function in it
    arguments              in the order of the launch: name, type as Triton names it ("*bf16" is a pointer), multiple_of
    hidden_pointers        null pointers behind the arguments: Triton's scratch memory, global and of its profiler
    constants              what was folded in: tile sizes, flags, and arguments that were 1
    n_warps, shared_bytes  threads of a block / 32, dynamic shared memory
    grid, scalars          blocks, and arguments that are no pointers, of the launch that the kernel was recorded from: with other sizes
                           the grid follows from the constants as in the operator's triton_impl.py
"""

import ctypes
import hashlib
import json
import re
import shutil
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from vadfast_kernels import launcher
from vadfast_kernels.aot.build import Build
from vadfast_kernels.aot.compiled import Compiled

# What Triton's own launcher appends to the arguments of every kernel (triton/backends/nvidia/driver.py, make_launcher).
_HIDDEN = ("global_scratch", "profile_scratch")
_PARAMETER = re.compile(r"\.param\s+(?:\.align\s+\d+\s+)?\.[a-z](\d+)")


def write(folder: Path, compiled: Iterable[tuple[Build, Compiled]]) -> None:
    """Writes the pack of ``compiled`` to ``folder``, which is new or empty.

    Raises:
        ValueError: a kernel needs what the launcher does not do.
    """
    entries = []
    for build, done in compiled:
        entry = _entry(build, done)
        file = folder / entry["file"]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(done.cubin)
        entries.append(entry)
    shutil.copyfile(launcher.__file__, folder / "launcher.py")
    manifest = {"format": launcher.FORMAT, "triton": version("triton"), "kernels": entries}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


def _entry(build: Build, done: Compiled) -> dict[str, Any]:
    metadata, used = done.metadata, done.resources
    check_can_launch(build, done)
    stem = re.sub(r"[^A-Za-z0-9]+", "_", build.name)
    return {
        "name": build.name,
        "architecture": used.architecture,
        "file": f"sm_{used.architecture}/{stem}.cubin",
        "sha256": hashlib.sha256(done.cubin).hexdigest(),
        "symbol": metadata["name"],
        "arguments": [
            {"name": n, "type": build.types[n], "multiple_of": 16 if n in build.multiples else 1}
            for n in build.arguments()
        ],
        "hidden_pointers": len(_HIDDEN),
        "constants": build.constants,
        "n_warps": metadata["num_warps"],
        "shared_bytes": metadata["shared"],
        "grid": build.grid,
        "scalars": build.scalars,
        "registers": used.registers,
    }


def check_can_launch(build: Build, done: Compiled) -> None:
    """Returns where ``launcher.py`` can launch the kernel, else raises ValueError."""
    metadata = done.metadata
    types = {build.types[n] for n in build.arguments()}
    asked = {
        "arguments of other types": any(t[0] != "*" and t not in launcher.C_TYPES for t in types),
        "scratch memory": metadata["global_scratch_size"] or metadata["profile_scratch_size"],
        "clusters": metadata["num_ctas"] != 1,
        "tensor descriptors": bool(metadata["tensordesc_meta"]),
        "a cooperative launch": metadata["launch_cooperative_grid"],
        "programmatic launches": metadata["launch_pdl"],
    }
    for what, needed in asked.items():
        if needed:
            raise ValueError(
                f"{build.name} needs {what}, which launcher.py does not do: leave it out with -k"
            )
    wanted = [_bits(build.types[n]) for n in build.arguments()] + [64] * len(_HIDDEN)
    found = parameter_bits(done.ptx)
    if found != wanted:
        raise ValueError(
            f"{build.name} must take parameters of {wanted} bits, its PTX has {found}: this Triton passes arguments in another way "
            "than launcher.py"
        )


def parameter_bits(ptx: str) -> list[int]:
    """Returns the sizes of the parameters of the one kernel in ``ptx``."""
    start = ptx.index(".entry")
    return [int(bits) for bits in _PARAMETER.findall(ptx[start : ptx.index(")", start)])]


def _bits(kind: str) -> int:
    return 64 if kind.startswith("*") else 8 * ctypes.sizeof(launcher.C_TYPES[kind])
