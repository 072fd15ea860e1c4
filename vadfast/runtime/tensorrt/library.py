"""Which TensorRT is installed: TensorRT itself before TensorRT-RTX, by whichever of their names can be imported."""

import importlib
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

from vadfast.errors import BackendError, first_line

if TYPE_CHECKING:
    from vadfast.runtime.tensorrt.api import TensorRT

log = logging.getLogger(__name__)

# The second of each is what the first imports, and is all that is there after an installation without NVIDIA's meta package.
MODULES = ("tensorrt", "tensorrt_bindings", "tensorrt_rtx", "tensorrt_rtx_bindings")
T = TypeVar("T")
INSTALL = "pip install 'vadfast[tensorrt]', or see docs/tensorrt.md"


@dataclass(frozen=True, slots=True)
class Library:
    """A TensorRT that could be imported."""

    trt: "TensorRT"
    module: str
    version: str

    @property
    def is_rtx(self) -> bool:
        """Whether it is TensorRT-RTX, which compiles for the GPU when an engine is opened, and measures nothing before."""
        return self.module.startswith("tensorrt_rtx")

    @property
    def name(self) -> str:
        """As its makers write it, and its version."""
        return f"{'TensorRT-RTX' if self.is_rtx else 'TensorRT'} {self.version}"


@cache
def find_library() -> Library:
    """Returns the first of ``MODULES`` that can be imported.

    Raises:
        BackendError: none can, with the reason of each that is there at all.
    """
    broken = []
    for module in MODULES:
        # A binding whose library is absent raises ImportError; one whose library is of another version OSError or RuntimeError.
        try:
            trt = importlib.import_module(module)
        except ModuleNotFoundError:
            continue
        except (ImportError, OSError, RuntimeError) as error:
            broken.append(f"{module} is installed and cannot be imported ({first_line(error)})")
            continue
        return Library(cast("TensorRT", trt), module, str(trt.__version__))
    found = "; ".join(broken) or f"none of {', '.join(MODULES)} is installed"
    raise BackendError(f"needs TensorRT: {found}; {INSTALL}")


class Messages:
    """What a library says while it works: told to our log at DEBUG, its errors kept for the sentence that follows a refusal."""

    def __init__(self, library: Library) -> None:
        """``logger`` is what TensorRT takes; TensorRT needs it as long as anything that it was given to."""
        self._errors: deque[str] = deque(maxlen=8)
        self.logger = _logger(library.trt, self._take)

    def reason(self, otherwise: str = "no reason given") -> str:
        """Returns the first error since the last call, or ``otherwise``, and forgets them."""
        first = self._errors[0] if self._errors else otherwise
        self._errors.clear()
        return first

    def _take(self, severity: int, message: str) -> None:
        if severity <= 1:  # INTERNAL_ERROR, ERROR
            self._errors.append(message.strip().partition("\n")[0])
        if severity <= 3:  # WARNING, INFO; VERBOSE is thousands of lines
            log.debug("tensorrt: %s", message)


def made(library: Library, messages: Messages, what: str, make: Callable[[], T | None]) -> T:
    """Returns what ``make`` gives, which is TensorRT's ``what``.

    Where there is nothing to give (no driver, no memory, a library of another version), constructors raise TypeError and methods return None.

    Raises:
        BackendError: it gives nothing, with the reason that TensorRT told.
    """
    fault: Exception | None = None
    try:
        found = make()
    except (TypeError, RuntimeError) as error:
        fault, found = error, None
    if found is None:
        said = messages.reason(first_line(fault) if fault else "no reason given")
        raise BackendError(
            f"{library.name} does not start, it gives no {what}: {said}; check the driver with nvidia-smi, or take another --backend"
        ) from fault
    return found


def _logger(trt: "TensorRT", take: Callable[[int, str], None]) -> Any:
    class Logger(trt.ILogger):  # type: ignore[misc, name-defined]
        """Hands every message on."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            """Called by TensorRT, from any thread."""
            take(int(severity), message)

    return Logger()
