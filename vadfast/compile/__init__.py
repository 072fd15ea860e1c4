"""From a training run to a bundle: export, race, gate, calibrate, seal: ``build_bundle``.

Nothing is imported before it is used: ``vadfast.compile.backends`` is named by the torch-free
runtime.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vadfast.compile.build import build_bundle
    from vadfast.compile.module import ModuleSpec

__all__ = ["ModuleSpec", "build_bundle"]


def __getattr__(name: str) -> Any:
    if name == "build_bundle":
        from vadfast.compile.build import build_bundle

        return build_bundle
    if name == "ModuleSpec":
        from vadfast.compile.module import ModuleSpec

        return ModuleSpec
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
