"""What an installed package says about its licence: as an SPDX expression where it does, and the texts that it brings.

Nothing is guessed: words that fit no SPDX licence stay words, and a package without a text is said to have none.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from vadfast.compile.known_licences import Known, package_licence
from vadfast.compile.shared_libraries import Library

# Words that people write for one licence and no other.
_ALIASES = {
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license 2.0": "Apache-2.0",
    "bsd 2-clause license": "BSD-2-Clause",
    "2-clause bsd license": "BSD-2-Clause",
    "bsd 3-clause license": "BSD-3-Clause",
    "3-clause bsd license": "BSD-3-Clause",
    "isc license": "ISC",
    "mit license": "MIT",
    "the mit license": "MIT",
}
# Classifiers that mean one licence; "BSD License" and "Apache Software License" are families.
_CLASSIFIERS = {
    "Boost Software License 1.0 (BSL-1.0)": "BSL-1.0",
    "GNU Affero General Public License v3": "AGPL-3.0-only",
    "GNU Affero General Public License v3 or later (AGPLv3+)": "AGPL-3.0-or-later",
    "GNU General Public License v2 (GPLv2)": "GPL-2.0-only",
    "GNU General Public License v2 or later (GPLv2+)": "GPL-2.0-or-later",
    "GNU General Public License v3 (GPLv3)": "GPL-3.0-only",
    "GNU General Public License v3 or later (GPLv3+)": "GPL-3.0-or-later",
    "GNU Lesser General Public License v2 or later (LGPLv2+)": "LGPL-2.0-or-later",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
    "GNU Lesser General Public License v3 or later (LGPLv3+)": "LGPL-3.0-or-later",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "MIT No Attribution License (MIT-0)": "MIT-0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
}
_TEXT = re.compile(
    r"(licen[cs]e|copying|notice|third.?party.?(notice|licen[cs]e|program)).*",
    re.IGNORECASE,
)
_CODE = (".py", ".pyc", ".pyi", ".so", ".h")


@dataclass(frozen=True, slots=True)
class Licence:
    """What a package declares: an SPDX expression, or its own words, or neither; and what is known where that settles nothing."""

    spdx: str | None
    words: str | None
    known: Known | None


def licence(package: str) -> Licence:
    """Returns the licence of the installed ``package``.

    License-Expression goes first, then a License of one line and classifiers as far as they mean one licence; else they are words.
    """
    about = metadata.metadata(package)
    title, *text = (about["License"] or "").strip().splitlines() or [""]
    free = "" if text else title  # else it is a whole text, which may begin with its name
    classified = [
        c.rpartition(" :: ")[2]
        for c in about.get_all("Classifier") or []
        if c.startswith("License ::")
    ]
    spdx = _spdx(about["License-Expression"] or "") or _spdx(_ALIASES.get(title.lower(), free))
    if spdx is None and len(classified) == 1:
        spdx = _CLASSIFIERS.get(classified[0])
    words = None if spdx else free or "; ".join(classified) or None
    return Licence(spdx, words, None if spdx else package_licence(package))


def _spdx(words: str) -> str | None:
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    try:
        return str(canonicalize_license_expression(words))
    except InvalidLicenseExpression:
        return None


def licence_texts(package: str) -> dict[str, bytes]:
    """Returns the licence files and notices of the installed ``package`` by their path in it, each text once."""
    found: dict[str, bytes] = {}
    for name, path in sorted(_candidates(metadata.distribution(package))):
        text = path.read_bytes() if path.is_file() else b""
        if text.strip() and text not in found.values():
            found[name] = text
    return found


def _candidates(distribution: metadata.Distribution) -> Iterator[tuple[str, Path]]:
    for file in distribution.files or []:
        declared = "licenses" in file.parts[1:2] and ".dist-info" in file.parts[0]
        if file.suffix not in _CODE and (declared or _TEXT.fullmatch(file.name)):
            yield file.as_posix(), Path(str(file.locate()))
    if not distribution.files:  # a source tree, whose metadata lie beside it
        for name in distribution.metadata.get_all("License-File") or []:
            yield name, Path(str(distribution.locate_file(name)))


def words_of(package: str, version: str, libraries: list[Library]) -> bytes:
    """Returns all that there is to hand on with ``package``: its texts as they are, and the licences of the libraries in it."""
    texts = licence_texts(package)
    parts = [f"== {name} ==\n\n".encode() + text.rstrip() for name, text in texts.items()]
    if not texts:
        found = licence(package)
        said = found.spdx or found.words or "nothing"
        project = (
            f"; its project's licence is {found.known.licence}, {found.known.source}"
            if found.known
            else ""
        )
        parts.append(f"{package} {version} brings no licence text. Its metadata say: {said}{project}.".encode())  # fmt: skip
    if libraries:
        lines = [f"{library.path}: {_of_library(library)}" for library in libraries]
        parts.append("\n".join(("== shared libraries of others in this package; a text that is not above is at the address ==", "", *lines)).encode())  # fmt: skip
    return b"\n\n".join(parts) + b"\n"


def _of_library(library: Library) -> str:
    known = library.known
    return "licence not known" if known is None else f"{known.licence} ({known.source})"
