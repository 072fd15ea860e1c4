"""Which line of somebody's module an error is about: the frames of torch and of the exporter say nothing to who wrote it."""

import inspect
import linecache
import os
import re
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import CodeType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

_LIBRARIES = ("torch", "vadfast", "vadfast_kernels")
_QUOTED = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a source file; ``str`` gives ``file.py:LINE (source line)``."""

    file: str
    line: int

    def __str__(self) -> str:
        source = linecache.getline(self.file, self.line).strip()
        return f"{os.path.basename(self.file)}:{self.line}{f' ({source})' if source else ''}"


def own_files(module: "nn.Module") -> frozenset[str]:
    """The source files of ``module`` and of all modules in it, without those of torch and of this package."""
    kinds = {type(part) for part in module.modules()}
    found = (_source_of(k) for k in kinds if k.__module__.partition(".")[0] not in _LIBRARIES)
    return frozenset(file for file in found if file is not None)


def find_place(error: BaseException, files: frozenset[str]) -> Place | None:
    """The innermost line of ``files`` that ``error`` or one of its causes came through or is about; None: there is none.

    Looked for in the traceback, then in the stack that torch noted at the graph's node it could not translate, then in
    what the error says.
    """
    for each in reversed(list(_causes(error))):  # the first cause knows best
        for search in (_in_traceback, _at_node, _in_words):
            places = [place for place in search(each) if place.file in files]
            if places:
                return places[-1]
    return None


def find_bound_size(error: BaseException, files: frozenset[str]) -> Place | None:
    """The last line of ``files`` at which torch.export, failing by ``error``, found an open size to be a fixed one."""
    for each in _causes(error):
        for values in _locals(each):
            shapes = getattr(values.get("fake_mode"), "shape_env", None)
            for guard in reversed(getattr(shapes, "guards", ())):
                # Not the guard's text: that leaves out what the path has in common with torch's own.
                frame = getattr(getattr(guard, "sloc", None), "framework_loc", None)
                if isinstance(frame, traceback.FrameSummary):
                    place = Place(os.path.realpath(frame.filename), frame.lineno or 1)
                    if place.file in files:
                        return place
    return None


def first_cause(error: BaseException) -> BaseException:
    """What ``error`` was raised from, and that from, to the first."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def definition(function: Callable[..., Any]) -> Place | None:
    """Where ``function`` begins; None where it has no source."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if not isinstance(code, CodeType):
        return None
    return Place(os.path.realpath(code.co_filename), code.co_firstlineno)


def at(place: Place | None) -> str:
    """Returns `` at PLACE`` for a sentence, nothing where there is none."""
    return f" at {place}" if place else ""


def _source_of(kind: type) -> str | None:
    try:
        file = inspect.getsourcefile(kind)
    except TypeError:  # built in
        return None
    return os.path.realpath(file) if file else None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        yield error
        seen.add(id(error))
        error = error.__cause__ or error.__context__


def _in_traceback(error: BaseException) -> Iterator[Place]:
    for frame, line in traceback.walk_tb(error.__traceback__):
        yield Place(os.path.realpath(frame.f_code.co_filename), line)
    if isinstance(error, SyntaxError) and error.filename:
        yield Place(os.path.realpath(error.filename), error.lineno or 1)


def _at_node(error: BaseException) -> Iterator[Place]:
    for values in _locals(error):
        yield from _quoted(getattr(values.get("node"), "stack_trace", None))


def _in_words(error: BaseException) -> Iterator[Place]:
    yield from _quoted(str(error))


def _quoted(text: object) -> Iterator[Place]:
    for found in _QUOTED.finditer(text) if isinstance(text, str) else ():
        yield Place(os.path.realpath(found["file"]), int(found["line"]))


def _locals(error: BaseException) -> Iterator[dict[str, Any]]:
    for frame, _ in traceback.walk_tb(error.__traceback__):
        yield frame.f_locals
