"""vadfast: learned video anomaly detection, from plain-video training to a bundle that proves itself on a camera box.

Importing it loads neither torch nor any engine: submodules are imported when they are first named.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_SUBMODULES = (
    "compile",
    "config",
    "data",
    "errors",
    "evaluate",
    "fusion",
    "layers",
    "models",
    "ops",
    "runtime",
    "score",
    "train",
)

_FUNCTIONS = {"fuse": "vadfast.fusion", "unfuse": "vadfast.fusion"}

__all__ = ["__version__", *_SUBMODULES, *_FUNCTIONS]


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f"vadfast.{name}")
    if name in _FUNCTIONS:
        return getattr(importlib.import_module(_FUNCTIONS[name]), name)
    raise AttributeError(f"module 'vadfast' has no attribute {name!r}")
