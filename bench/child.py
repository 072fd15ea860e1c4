"""A provider in a process of its own: for settings that hold for a whole process, such as the C allocator's.

It stays in the contest's process tree and takes its turns like the others; a turn costs one message there and back.
"""

import multiprocessing
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import psutil

Factory = Callable[..., Callable[[int], Any]]

# The setting of glibc that keeps large freed blocks: eager PyTorch then reuses its temporaries instead of faulting in
# fresh pages for each (vadfast.train.machine sets the same while training).
KEEP_FREED_MEMORY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
    "MALLOC_TOP_PAD_": str(2**28),
}


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
        return ours.recv()

    try:
        yield call
    finally:
        ours.close()
        process.join(10)


def peak_mb(factory: Factory, *arguments: Any) -> float:
    """Returns by how many MB the resident memory of a fresh process rises at most during one call of what ``factory`` makes."""
    with child(_measured, factory, arguments) as call:
        rise: float = call(0)
    return rise


def _measured(factory: Factory, arguments: tuple[Any, ...]) -> Any:
    work = factory(*arguments)

    def call(i: int) -> float:
        before = psutil.Process().memory_info().rss
        work(i)
        # Linux counts in kB; the mark is the highest since the process began, whose imports stay below what is measured.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before / 2**20

    return call


def _serve(connection: Connection, factory: Factory, arguments: tuple[Any, ...]) -> None:
    call = factory(*arguments)
    while True:
        try:
            i = connection.recv()
        except EOFError:
            return
        connection.send(call(i))
