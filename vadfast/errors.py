"""Every error that vadfast raises on purpose, each with the exit code that its command ends with.

The message of each is one sentence a user can act on: what was wanted, what came, and the next step.
"""

import re
from typing import Any

# User and password of a URL: all that lies before the last @ of its host; without one there, a user and what is no port, up to an @
# behind a slash that should have been escaped. One slash is what pathlib makes of two, and one letter is a drive.
_LOGIN = re.compile(r"\b([A-Za-z][A-Za-z0-9+.-]+:/{1,2})(?:[^\s/?#]*@|[^\s/?#:]*:(?!\d*[/?#])\S*@)")


def first_line(error: BaseException) -> str:
    """What a library says of its ``error``, for within one of our sentences; its name where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def plain(text: str) -> str:
    """Returns ``text`` as one printable line: a name from a file, or a library's words, may hold what moves a terminal's cursor."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else " " if c in "\n\r\t" else c.encode("unicode_escape").decode()
        for c in text
    )


def without_logins(text: str) -> str:
    """Returns ``text`` with the URLs in it, such as a camera's address, without user and password.

    >>> without_logins("rtsp://admin:secret@10.0.0.7/live: no such file")
    'rtsp://10.0.0.7/live: no such file'
    """
    return _LOGIN.sub(r"\1", text)


class VadfastError(Exception):
    """The root: catch it to catch everything that vadfast raises on purpose."""

    exit_code = 1

    def __str__(self) -> str:
        return without_logins(plain(super().__str__()))


class UsageError(VadfastError):
    """An argument or a configuration names something absent or impossible."""

    exit_code = 2


class SourceError(VadfastError):
    """A video, an image, a folder of frames or a label file cannot be read as what it claims to be."""


class TrainingError(VadfastError):
    """Training cannot go on: a loss is not finite, or a checkpoint does not fit the run."""


class BundleError(VadfastError):
    """A bundle is damaged, incomplete, or of a format that this version does not read."""


class BackendError(VadfastError):
    """A backend that was asked for by name cannot run here."""


class EngineMismatch(BackendError):
    """An engine was built for another machine, library or precision than the one at hand."""


class GateError(VadfastError):
    """No compiled candidate kept the scores of the eager model within the stated bounds.

    ``document`` is what ``compile --json`` would have said: the race, and why each candidate failed.
    """

    exit_code = 3

    def __init__(self, message: str, document: dict[str, Any]) -> None:
        super().__init__(message)
        self.document = document


class BuildError(VadfastError):
    """Export or engine build failed."""

    exit_code = 4
