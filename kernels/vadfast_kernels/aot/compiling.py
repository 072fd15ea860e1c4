"""Compiles many builds over all cores, and says how far it is."""

import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence

from vadfast_kernels.aot import builds
from vadfast_kernels.aot.build import Build
from vadfast_kernels.aot.compiled import Compiled, compile_build

# Build, by name: kernels cannot be sent to another process, so each records the builds itself.
_by_name: dict[str, Build] = {}


def compile_all(
    chosen: Sequence[Build], architectures: Sequence[int], n_processes: int | None = None
) -> Iterator[tuple[Build, Compiled]]:
    """Yields each of ``chosen`` for each architecture, in order; progress and time left go to stderr."""
    jobs = [(build, architecture) for build in chosen for architecture in architectures]
    start = time.monotonic()
    for i, done in enumerate(_results(jobs, n_processes), start=1):
        _say(i, len(jobs), time.monotonic() - start, done)
        yield jobs[i - 1][0], done


def _results(jobs: Sequence[tuple[Build, int]], n_processes: int | None) -> Iterator[Compiled]:
    # A process has to load torch first: for less than this it does not pay.
    n_processes = min(n_processes or len(os.sched_getaffinity(0)), len(jobs) // 8)
    if n_processes < 2:
        yield from (compile_build(*job) for job in jobs)
        return
    named = [(build.name, architecture) for build, architecture in jobs]
    with multiprocessing.get_context("spawn").Pool(n_processes, _record) as pool:
        yield from pool.imap(_compile, named)


def _record() -> None:
    _by_name.update((build.name, build) for build in builds())


def _compile(job: tuple[str, int]) -> Compiled:
    name, architecture = job
    return compile_build(_by_name[name], architecture)


def _say(i: int, n: int, elapsed_s: float, done: Compiled) -> None:
    found = done.resources
    words = "; ".join(found.faults()) or "fits"
    left_s = elapsed_s / i * (n - i)
    print(
        f"{i:>{len(str(n))}}/{n}, {left_s:.0f} s left  sm_{found.architecture:<4}{found.build:<62}"
        f"{found.registers:>4} registers {found.shared_bytes:>7} B shared  {words}",
        file=sys.stderr,
        flush=True,
    )
