"""The operators by name. A module of its own, because a folder ``criss_cross_attention`` would take the function's place in the package.

Each is loaded when it is first asked for::

    from vadfast_kernels import ops

    y = ops.criss_cross_attention(q, k, v)                      # backend chosen, and said once in the log
    y = ops.criss_cross_attention(q, k, v, backend="triton")    # this one, or an error with the reason
"""

import importlib
from typing import Any

from vadfast_kernels import OPERATORS, BackendError, Verdict


def operators() -> tuple[str, ...]:
    """Returns the names of the operators."""
    return tuple(OPERATORS)


def explain(name: str, *arguments: Any) -> tuple[Verdict, ...]:
    """Returns for each backend of operator ``name`` whether it can run ``arguments``, and why not.

    Raises:
        AttributeError: there is no such operator.
    """
    return _module(name).OPERATOR.explain(*arguments)


def sample(name: str, device: Any, dtype: Any) -> tuple[Any, ...]:
    """Returns the arguments of a typical call of operator ``name``, for ``explain``; raises AttributeError as it does."""
    return _module(name).sample(device, dtype)


def __getattr__(name: str) -> Any:
    """PEP 562."""
    return getattr(_module(name), name)


def _module(name: str) -> Any:
    if name not in OPERATORS:
        raise AttributeError(f"vadfast_kernels.ops has no {name!r}; it has {', '.join(OPERATORS)}")
    return importlib.import_module(OPERATORS[name])


__all__ = ["BackendError", "Verdict", "explain", "operators", "sample"]
