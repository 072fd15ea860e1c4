"""Which backend runs an operator: the only dispatch code there is.

A backend says in one sentence why it cannot run given arguments. The same sentence refuses it when it was named, and explains
the choice when nobody named one. A named backend runs or raises; ``auto`` takes the first that can run and says so once.
"""

import importlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

log = logging.getLogger("vadfast")

# Whether Triton interprets kernels, in NumPy and on CPU tensors, instead of compiling them: set before it is imported, or never.
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


class BackendError(RuntimeError):
    """The backend that was named cannot run here, or none can; the message says why."""


@dataclass(frozen=True, slots=True)
class Backend:
    """One way to compute an operator."""

    name: str
    module: str  # imported when the backend first runs
    # Of the operator's arguments: why it cannot run them, or None.
    refusal: Callable[..., str | None]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is said of one backend for given arguments; ``reason`` is empty where it can run."""

    backend: str
    reason: str
    chosen: bool


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator and its backends, in the order in which ``auto`` tries them."""

    name: str
    backends: tuple[Backend, ...]

    def explain(self, *arguments: Any) -> tuple[Verdict, ...]:
        """Returns a verdict for each backend; the first that can run is the one that ``auto`` takes."""
        verdicts: list[Verdict] = []
        for backend in self.backends:
            reason = backend.refusal(*arguments) or ""
            chosen = not reason and _is_automatic(backend) and not any(v.chosen for v in verdicts)
            verdicts.append(Verdict(backend.name, reason, chosen))
        return tuple(verdicts)

    def implementation(self, backend: str, *arguments: Any) -> ModuleType:
        """Returns the module that computes ``arguments``.

        Raises:
            ValueError: ``backend`` is none of the operator's.
            BackendError: the named backend cannot run ``arguments``, or no backend can.
        """
        if backend != "auto":
            named = self._named(backend)
            reason = named.refusal(*arguments)
            if reason:
                raise BackendError(
                    f"{self.name}: backend {backend!r} {reason}; use 'auto' for one that can"
                )
            return importlib.import_module(named.module)
        refused: list[str] = []
        for candidate in self.backends:
            if not _is_automatic(candidate):
                continue
            reason = candidate.refusal(*arguments)
            if not reason:
                _say_once(self.name, candidate.name, "; ".join(refused))
                return importlib.import_module(candidate.module)
            refused.append(f"{candidate.name} {reason}")
        raise BackendError(f"{self.name}: no backend can run this: {'; '.join(refused)}")

    def _named(self, backend: str) -> Backend:
        for candidate in self.backends:
            if candidate.name == backend:
                return candidate
        known = ", ".join(["auto", *(b.name for b in self.backends)])
        raise ValueError(f"{self.name}: backend must be one of {known}, got {backend!r}")


def _is_automatic(backend: Backend) -> bool:
    """Triton's interpreter runs by name only: it is a thousand times slower than anything it would be chosen before."""
    return not (backend.name == "triton" and INTERPRETED)


@cache
def _say_once(operator: str, backend: str, refused: str) -> None:
    log.info("%s: %s%s", operator, backend, f" ({refused})" if refused else "")
