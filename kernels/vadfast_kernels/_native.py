"""The one compiled module, ``vadfast_kernels._C``: loaded when it is first asked for; why it cannot be is kept and said each time.

It is built by ``pip install`` (setup.py calls csrc/CMakeLists.txt). For a build by hand::

    cmake -S csrc -B build -G Ninja -DVADFAST_PYTHON=ON -DVADFAST_MODULE_DIR=$PWD/kernels/vadfast_kernels && cmake --build build
"""

import importlib
from functools import cache
from typing import Any

from vadfast_kernels import _sentences
from vadfast_kernels._op import BackendError

# VAD_ABI_VERSION of csrc/include/vadfast/status.h that this package was written for.
_ABI_VERSION = 1


def refusal() -> str | None:
    """Returns why the compiled module cannot be used, or None."""
    return _load()[1]


def refusal_on(device: str) -> str | None:
    """Returns why an operator that has a CPU and a CUDA form cannot run on ``device`` ("cpu", "cuda", ...), or None."""
    if (reason := refusal()) is not None:
        return f"needs the compiled module, which {reason}"
    if device == "cuda" and _load()[0].build_info()["cuda"] is None:
        return "needs a CPU tensor, for this build is one without CUDA, got one on cuda"
    if device not in ("cpu", "cuda"):
        return f"needs a tensor on the CPU or on CUDA, got one on {device}"
    return None


def module() -> Any:
    """Returns ``vadfast_kernels._C``.

    Raises:
        BackendError: it was not built for this Python, or is of another version; the cause is chained.
    """
    loaded, reason, cause = _load()
    if reason is not None:
        raise BackendError(f"vadfast_kernels._C: {reason}") from cause
    return loaded


@cache
def _load() -> tuple[Any, str | None, ImportError | None]:
    try:
        loaded = importlib.import_module("vadfast_kernels._C")
    except ImportError as error:
        return None, f"cannot be imported ({error}); install again: pip install .", error
    found = loaded.build_info()["abi"]
    if found != _ABI_VERSION:
        reason = f"must have ABI {_ABI_VERSION}, got {found}; install again: pip install ."
        return None, reason, None
    _sentences.speak(loaded)
    return loaded, None, None
