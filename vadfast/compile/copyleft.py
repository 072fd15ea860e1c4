"""Which of the packages of a bill of materials bring GPL or LGPL code: who hands them on owes more than a notice."""

import json
import zipfile
from pathlib import Path
from typing import Any

from vadfast.compile.sbom import SBOM
from vadfast.runtime.zipped import is_zipped


def copyleft_words(bundle: Path) -> str | None:
    """Returns one line on the GPL and LGPL code that runs the written ``bundle``; None where its bill has none."""
    if is_zipped(bundle):
        with zipfile.ZipFile(bundle) as archive:
            bill = json.loads(archive.read(SBOM))
    else:
        bill = json.loads((bundle / SBOM).read_text(encoding="utf-8"))
    kinds: dict[str, dict[str, list[str]]] = {"GPL": {}, "LGPL": {}}
    for package in bill["components"]:
        for part in (package, *package.get("components", ())):
            kind = copyleft(_expression(part))
            if kind is not None:
                inside = kinds[kind].setdefault(package["name"], [])
                inside += [] if part is package else [part["name"]]
    gpl = [f"{name}: {', '.join(parts)}" if parts else name for name, parts in kinds["GPL"].items()]
    found = (("GPL", "; ".join(gpl)), ("LGPL", ", ".join(kinds["LGPL"])))
    said = [f"{kind} code ({names})" for kind, names in found if names]
    if not said:
        return None
    return f"licences: what runs it holds {' and '.join(said)}, which binds who hands it on: docs/bundles.md"


def copyleft(expression: str) -> str | None:
    """Returns GPL or LGPL where every choice that an SPDX ``expression`` leaves is at least that; None where one is free of both.

    >>> copyleft("LGPL-3.0-or-later OR GPL-2.0-or-later"), copyleft("BSD-3-Clause OR GPL-2.0-only")
    ('LGPL', None)
    """
    choices = [
        max((_strength(term) for term in choice.split(" AND ")), default=0)
        for choice in expression.replace("(", "").replace(")", "").split(" OR ")
    ]
    return (None, "LGPL", "GPL")[min(choices)]


def _strength(term: str) -> int:
    # The runtime libraries of GCC may be linked with anything.
    if "GPL" not in term or "GCC-exception" in term:
        return 0
    return 1 if "LGPL" in term else 2


def _expression(component: dict[str, Any]) -> str:
    """What is known goes before what is declared."""
    entries = component.get("licenses", ())
    said = [e.get("expression") or e["license"].get("id") or "" for e in entries]
    return " AND ".join(said)
