"""What a cubin is made of: instructions counted in its SASS, the GPU's own code.

A count is of places in the code, not of executions. What the facts mean:

    matrix     tensor-core instructions by kind: HMMA, HGMMA (Hopper), UTCHMMA (sm_100); none in a kernel with tl.dot
               would mean that its products run on ordinary arithmetic
    fma        FFMA: float32 arithmetic outside the tensor cores; products asked for in full float32 end up here
    wide       loads from global memory of 128 bits a thread, LDG and LDGSTS; `loads` are all. Few wide ones of many mean that
               channels are not next to each other, or not known to be a multiple of 16
    copies     LDGSTS, UBLKCP, UTMALDG: loads that go to shared memory while the kernel computes (num_stages)
    spills     LDL, STL: local memory; anything but 0 is a fault
    barriers   BAR: all warps of a block wait
    atomics    ATOM, ATOMG, RED: results that depend on the order of blocks; no kernel here may have one
"""

import re
import subprocess
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_INSTRUCTION = re.compile(
    r"^\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_]*)([.\w]*)", re.M
)
_MATRIX = re.compile(r"^(?:[HIBDQO]MMA|[HIQ]GMMA|UTC[A-Z]*MMA)$")
_COPIES = ("LDGSTS", "UBLKCP", "UTMALDG")


@dataclass(frozen=True, slots=True)
class Facts:
    """Counts of instructions, by what they mean."""

    matrix: dict[str, int]
    fma: int
    loads: int
    wide: int
    copies: int
    spills: int
    barriers: int
    atomics: int


def facts(cubin: Path) -> Facts | None:
    """Returns the facts of ``cubin``, or None where :func:`absent` says why there are none."""
    if absent() is not None:
        return None
    command = [str(tool("nvdisasm")), "-c", str(cubin)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return counted(text)


def counted(text: str) -> Facts:
    """Returns the facts of a disassembly."""
    found = _INSTRUCTION.findall(text)
    count = Counter(name for name, _ in found)
    loads = [(name, rest) for name, rest in found if name in ("LDG", "LDGSTS")]
    return Facts(
        matrix={n: k for n, k in sorted(count.items()) if _MATRIX.match(n)},
        fma=count["FFMA"] + count["FFMA2"],
        loads=len(loads),
        wide=sum(".128" in rest for _, rest in loads),
        copies=sum(count[n] for n in _COPIES),
        spills=count["LDL"] + count["STL"],
        barriers=count["BAR"],
        atomics=count["ATOM"] + count["ATOMG"] + count["RED"] + count["REDG"],
    )


@lru_cache
def absent() -> str | None:
    """Returns why nothing can be disassembled, or None."""
    wanted = tool("nvdisasm")
    return None if wanted.is_file() else f"no SASS facts: Triton's package holds no {wanted.name}"


def tool(name: str) -> Path:
    """Returns where Triton's package keeps one of NVIDIA's tools."""
    import triton

    return Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / name


def number(text: str, pattern: str) -> int:
    """Returns the number that ``pattern`` finds in what a tool said.

    Raises:
        RuntimeError: it is not there, so the tool is of another version than this file was written for.
    """
    found = re.search(pattern, text)
    if found is None:
        raise RuntimeError(f"the CUDA tool did not say {pattern}; it said: {text[-300:]}")
    return int(found[1])
