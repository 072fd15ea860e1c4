"""The shared libraries of others that a wheel carries: each has a licence of its own, which the wheel's metadata do not name.

They are found in the list of files of the installed package (RECORD). What tools for wheels gather lies in folders of their own
(NAME.libs, .dylibs); of what lies among the package's own files, the names that are known count. What is linked into another file is not
seen.
"""

import base64
import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from vadfast.compile.known_licences import Known, library_licence

_MODULE = re.compile(r"\.(cpython-|cp\d+-|abi3\.|pyd$)")  # of Python: the package's own
# What auditwheel, delocate and delvewheel put into names so that they are unique.
_HASH = re.compile(r"-[0-9a-f]{8,40}(?=[-.])")
_NUMBER = r"\d+(?:\.\d+)*"
_LIBRARY = re.compile(
    rf"(?P<prefix>lib)?(?P<stem>.+?)(?:-r?(?P<dash>{_NUMBER}))?(?:\.(?P<dot>{_NUMBER}))?\.(?:so|dylib|dll)(?:\.(?P<so>{_NUMBER}))?"
)
# FFmpeg's licence depends on how it was built, and every library of it holds the result as a text.
_FFMPEG = re.compile(rb" license: (L?GPL version [ -~]+|nonfree [ -~]+)")
_FFMPEG_STEM = re.compile(
    r"av(codec|device|filter|format|util)|sw(resample|scale)|postproc|opencv_videoio_ffmpeg\w*"
)
_FFMPEG_SPDX = {
    "LGPL version 2.1 or later": "LGPL-2.1-or-later",
    "LGPL version 3 or later": "LGPL-3.0-or-later",
    "GPL version 2 or later": "GPL-2.0-or-later",
    "GPL version 3 or later": "GPL-3.0-or-later",
    "nonfree and unredistributable": "LicenseRef-FFmpeg-nonfree",
}


@dataclass(frozen=True, slots=True)
class Library:
    """A shared library of somebody else inside an installed package."""

    name: str  # libx264
    version: str | None  # that of the file name, which often counts interfaces and not releases
    path: str  # in the package
    sha256: str | None  # hexadecimal; None where the package's list has none
    known: Known | None  # None: nobody here knows its licence


def libraries_of(package: str) -> list[Library] | None:
    """Returns the libraries of others in the installed ``package``, by path; None where it has no list of its files."""
    files = metadata.files(package)
    if not files:
        return None
    found = []
    for file in sorted(files):
        parts = parse_name(file.name)
        if parts is None:
            continue
        name, version = parts
        gathered = file.parts[0].endswith(".libs") or ".dylibs" in file.parts
        known = licence_of(name, Path(str(file.locate())))
        if gathered or known is not None:
            found.append(Library(name, version, file.as_posix(), _sha256(file), known))
    return found


def parse_name(file: str) -> tuple[str, str | None] | None:
    """Returns name and version of the shared library ``file``; None where it is none, or a module of Python.

    >>> parse_name("libx264-d6533a8d.so.165"), parse_name("libopenblasp-r0-59ffcd50.3.15.so")
    (('libx264', '165'), ('libopenblasp', '0.3.15'))
    """
    found = _LIBRARY.fullmatch(_HASH.sub("", file))
    if found is None or _MODULE.search(file):
        return None
    version = found["so"] or found["dot"] or found["dash"]
    return (found["prefix"] or "") + found["stem"], version


def licence_of(name: str, file: Path) -> Known | None:
    """Returns the licence of the library ``name``: of FFmpeg's what ``file`` says of itself, of others what is known by name."""
    stem = name.removeprefix("lib")
    if not _FFMPEG_STEM.fullmatch(stem):
        return library_licence(stem)
    said = _FFMPEG.search(file.read_bytes())
    if said is None:
        return None
    words = said[1].decode()
    spdx = _FFMPEG_SPDX.get(words)
    return None if spdx is None else Known(spdx, f'the file itself: "{words}"')


def _sha256(file: metadata.PackagePath) -> str | None:
    if file.hash is None or file.hash.mode != "sha256":
        return None
    padded = file.hash.value + "=" * (-len(file.hash.value) % 4)
    return base64.urlsafe_b64decode(padded).hex()
