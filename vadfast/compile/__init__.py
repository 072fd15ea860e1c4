"""From a training run to a bundle: export, race, gate, calibrate, seal: ``build_bundle``.

Nothing is imported before it is used: ``vadfast.compile.backends`` is named by the torch-free
runtime.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vadfast.compile.build import build_bundle
    from vadfast.compile.module import ModuleSpec
    from vadfast.compile.plan import Options
    from vadfast.compile.report import Report

__all__ = ["ModuleSpec", "Options", "Report", "build_bundle"]

_HOMES = {"ModuleSpec": "module", "Options": "plan", "Report": "report", "build_bundle": "build"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
