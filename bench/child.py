"""A provider in a process of its own: for settings that hold for a whole process, such as the C allocator's.

It stays in the contest's process tree and takes its turns like the others; a turn costs one message there and back.
"""

import importlib
import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

# The setting of glibc that keeps large freed blocks: eager PyTorch then reuses its temporaries instead of faulting in
# fresh pages for each (vadfast.train.machine sets the same while training).
KEEP_FREED_MEMORY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
    "MALLOC_TOP_PAD_": str(2**28),
}


@contextmanager
def child(factory: str, *arguments: Any, environment: dict[str, str]) -> Iterator[Any]:
    """Yields a function that calls, in a fresh process with ``environment``, what ``factory(*arguments)`` made there.

    Args:
        factory: ``module:function``; its result takes the number of the call and returns something that can be pickled.
        arguments: what the factory is given.
        environment: set before the process starts.
    """
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_serve, args=(theirs, factory, arguments), daemon=True)
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


def _serve(connection: Connection, factory: str, arguments: tuple[Any, ...]) -> None:
    module, _, name = factory.partition(":")
    call = getattr(importlib.import_module(module), name)(*arguments)
    while True:
        try:
            i = connection.recv()
        except EOFError:
            return
        connection.send(call(i))
