"""Which installed packages stand behind an import, and what they need in turn.

A module and the package that brings it may differ in name: ``cupy`` is cupy-cuda13x's, ``sklearn`` scikit-learn's.
"""

import importlib
from collections.abc import Iterable
from importlib import metadata


def distribution_of(module: str) -> str | None:
    """Returns the name of the installed package that brings ``module``; None where no metadata tell of one."""
    try:
        metadata.distribution(module)
    except metadata.PackageNotFoundError:
        return next(iter(metadata.packages_distributions().get(module, ())), None)
    return module


def version_of(module: str) -> str:
    """Returns the installed version of what brings ``module``: its package's, else the module's own word."""
    name = distribution_of(module)
    return (
        str(importlib.import_module(module).__version__) if name is None else metadata.version(name)
    )


def closure(roots: Iterable[str]) -> dict[str, frozenset[str]]:
    """Returns, for every package that ``roots`` (names of packages) lead to, what it asks for itself on this machine.

    Names are canonical (PEP 503). A package that is asked for and not installed is a key too, and needs nothing.
    """
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    found: dict[str, set[str]] = {}
    seen: set[tuple[str, str]] = set()
    todo: list[tuple[str, str]] = [(canonicalize_name(root), "") for root in roots]
    while todo:
        name, extra = step = todo.pop()
        if step in seen:
            continue
        seen.add(step)
        asked = found.setdefault(name, set())
        for line in _requires(name):
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                needed = canonicalize_name(requirement.name)
                asked.add(needed)
                todo += [(needed, wanted) for wanted in ("", *requirement.extras)]
    return {name: frozenset(asked - {name}) for name, asked in sorted(found.items())}


def _requires(name: str) -> list[str]:
    try:
        return metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return []
