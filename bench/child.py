"""A provider in a process of its own: for settings that hold for a whole process, such as the C allocator's.

It stays in the contest's process tree and takes its turns like the others; a turn costs one message there and back.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

Factory = Callable[..., Callable[[int], Any]]

# What vadfast.train.machine sets by mallopt while training, as glibc reads it from the environment: large freed blocks are
# kept, so eager PyTorch reuses its temporaries instead of faulting in fresh pages for each.
KEEP_FREED_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1)}


@contextmanager
def child(
    factory: Factory, *arguments: Any, environment: dict[str, str] | None = None
) -> Iterator[Any]:
    """Yields a function that calls, in a fresh process with ``environment``, what ``factory(*arguments)`` made there.

    Args:
        factory: of module level, so that the process can import it; its result takes the number of the call and returns
            something that can be pickled.
        arguments: what the factory is given.
        environment: set before the process starts.
    """
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_serve, args=(theirs, factory, arguments), daemon=True)
    environment = environment or {}
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        process.start()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    theirs.close()

    def call(i: int) -> Any:
        ours.send(i)
        try:
            result = ours.recv()
        except EOFError:
            raise RuntimeError(
                "the process ended without an answer; its own message is above"
            ) from None
        if isinstance(result, Exception):
            raise result
        return result

    try:
        yield call
    finally:
        ours.close()
        process.join(10)


# Freed blocks of 64 KiB and more go back at once, so that the call that is measured finds nothing left by the first one.
_RETURN_FREED_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


def peak_mb(factory: Factory, *arguments: Any) -> float:
    """Returns by how many MB the resident memory of a fresh process rises at most during the second call of what ``factory`` makes.

    The first call loads modules and makes workspaces that stay.
    """
    with child(_measured, factory, arguments, environment=_RETURN_FREED_MEMORY) as call:
        call(0)
        rise: float = call(1)
    return rise


def resident_mb(factory: Factory, *arguments: Any) -> float:
    """Returns by how many MB the resident memory of a fresh process has risen, once it made and called what ``factory`` makes."""
    with child(_kept, factory, arguments) as call:
        rise: float = call(0)
    return rise


def _kept(factory: Factory, arguments: tuple[Any, ...]) -> Any:
    def call(i: int) -> float:
        before = psutil.Process().memory_info().rss
        work = factory(*arguments)
        work(i)
        return (psutil.Process().memory_info().rss - before) / 2**20

    return call


def _measured(factory: Factory, arguments: tuple[Any, ...]) -> Any:
    work = factory(*arguments)

    def call(i: int) -> float:
        # Linux hands the mark of getrusage on from the parent; its own mark can be reset.
        Path("/proc/self/clear_refs").write_text("5")
        before = _peak_kb()
        work(i)
        return (_peak_kb() - before) / 1024

    return call


def _peak_kb() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def _serve(connection: Connection, factory: Factory, arguments: tuple[Any, ...]) -> None:
    call = factory(*arguments)
    while True:
        try:
            i = connection.recv()
        except EOFError:
            return
        try:
            connection.send(call(i))
        except Exception as error:  # raised anew where the call was made
            connection.send(RuntimeError(f"{type(error).__name__}: {error}"))
