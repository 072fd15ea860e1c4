"""vadfast: learned video anomaly detection, from plain-video training to a bundle that proves itself on a camera box.

Importing it loads neither torch nor any engine: submodules are imported when they are first named.
"""

import importlib
from types import ModuleType

__version__ = "0.1.0"

_SUBMODULES = (
    "compile",
    "config",
    "data",
    "errors",
    "evaluate",
    "models",
    "runtime",
    "score",
    "train",
)

__all__ = ["__version__", *_SUBMODULES]


def __getattr__(name: str) -> ModuleType:
    if name in _SUBMODULES:
        return importlib.import_module(f"vadfast.{name}")
    raise AttributeError(f"module 'vadfast' has no attribute {name!r}")
