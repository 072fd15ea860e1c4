"""Which of this CPU's instructions code may use that was compiled for it with ``-march=native``."""

import platform

from vadfast.runtime.engine import cpu_features

# On x86 the others of Linux's words are the kernel's, or instructions that no compiler takes unless its source says so.
_X86 = frozenset(("abm", "adx", "aes", "cx16", "f16c", "gfni", "lahf_lm", "movbe", "pclmulqdq", "pni", "popcnt", "ssse3", "tbm", "vaes",
                  "vpclmulqdq", "xop"))  # fmt: skip
_X86_FAMILIES = ("sse", "avx", "amx", "apx", "bmi", "fma", "sha")
# On ARM all are instructions but these; the last is our own word for some of them.
_NOT_ARM = frozenset({"evtstrm", "cpuid", "int8"})


def native_instructions() -> tuple[str, ...]:
    """Returns their names, as Linux has them, in alphabetical order."""
    if platform.machine() in ("aarch64", "arm64"):
        names = cpu_features() - _NOT_ARM
    else:
        names = frozenset(
            name for name in cpu_features() if name in _X86 or name.startswith(_X86_FAMILIES)
        )
    return tuple(sorted(names))
