"""How many threads an engine gets here, and whether they are tied to their CPUs: what is fastest, measured before the race.

An engine's own default stays unless another setting is faster beyond doubt, so the same machine gives the same bundle.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vadfast.cli import talk
from vadfast.compile.answers import FailuresNamed
from vadfast.compile.backends import Backend, Precision, Workshop, refusal
from vadfast.errors import BackendError
from vadfast.progress import steps
from vadfast.race import Timing, race, ratio
from vadfast.runtime.engine import Engine, n_cpus
from vadfast.runtime.manifest import Threads

# The backends that can be told how many threads, and whether also to leave them to whatever CPU is free.
_TIES = {"mnn": False, "onnxruntime": False, "openvino": True}
_ROUNDS = 5
_CPUS = Path("/sys/devices/system/cpu")
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def counts() -> tuple[int, ...]:
    """Returns how many threads are worth a try, fewest first: one a core and one a CPU of those that this process may use.

    A container that is given the time of fewer CPUs than it sees has that many instead: more threads are stopped in turns.
    """
    cpus = os.sched_getaffinity(0)
    cores = {_siblings(cpu) for cpu in cpus}
    most = min(len(cpus), _quota() or len(cpus))
    return tuple(sorted({min(len(cores), most), most}))


def settings(backend: Backend) -> tuple[Threads, ...]:
    """Returns what ``backend`` can be told here; the first is its own default."""
    cpus, tried = n_cpus(), counts()
    # With one count that is all CPUs there is nothing to tell: every engine takes those by itself.
    numbers = (None, *(() if tried == (cpus,) else tried))
    ties = (None, False) if _TIES[backend.name] else (None,)
    return tuple(Threads(n=n, pinned=pinned, cpus=cpus) for pinned in ties for n in numbers)


def tune(
    workshop: Workshop, backends: Sequence[Backend], windows: Sequence[npt.NDArray[np.uint8]]
) -> dict[str, Threads]:
    """Returns the fastest setting of those of ``backends`` that have one, by name, on ``windows`` [1, T, H, W, 3], in bf16 or else float32.

    What cannot be built is left out; the race will say why.
    """
    chosen = {}
    for backend in backends:
        if backend.name not in _TIES or refusal(backend, "fp32") is not None:
            continue
        known = settings(backend)
        if len(known) > 1:
            found = _fastest(workshop, backend, known, windows)
            if found is not None:
                chosen[backend.name] = found
    return chosen


def words(threads: Threads) -> str:
    """Returns the setting in a few words.

    >>> words(Threads(n=4, pinned=False, cpus=8))
    '4 threads, not tied to CPUs'
    """
    number = "its own number of threads" if threads.n is None else f"{threads.n} threads"
    return number + (", not tied to CPUs" if threads.pinned is False else "")


def _fastest(
    workshop: Workshop,
    backend: Backend,
    known: Sequence[Threads],
    windows: Sequence[npt.NDArray[np.uint8]],
) -> Threads | None:
    engines: list[Engine] = []
    # What ships is rather in fewer digits, which also takes half the time.
    can_bf16 = "bf16" in backend.precisions and refusal(backend, "bf16") is None
    precision: Precision = "bf16" if can_bf16 else "fp32"
    try:
        with steps(f"threads of {backend.name}", len(known) * (_ROUNDS + 1)) as bar:
            for setting in known:
                told = replace(workshop, tuned={backend.name: setting})
                engines.append(backend.build(told, precision, 1))
            with FailuresNamed():
                timings = race(engines, windows, rounds=_ROUNDS, steps=bar)
    except BackendError:
        return None
    finally:
        for engine in engines:
            engine.close()
    best = pick(timings)
    gain = timings[0].median_ms / timings[best].median_ms
    talk.print(
        f"threads of {backend.name}: {words(known[best])}"
        + (f", {gain:.2f}x its default" if best else f", of {len(known)} settings none is faster")
    )
    return known[best]


def pick(timings: Sequence[Timing]) -> int:
    """Returns which of ``timings`` to take: the fastest, if the interval of its ratio to the first lies above 1; else the first."""
    best = min(range(len(timings)), key=lambda i: timings[i].median_ms)
    return best if best and ratio(timings[0], timings[best])[1] > 1 else 0


def _siblings(cpu: int) -> str:
    """Which CPUs share the core of ``cpu``; where Linux does not say, it has a core of its own."""
    try:
        file = _CPUS / f"cpu{cpu}" / "topology" / "thread_siblings_list"
        return file.read_text(encoding="ascii").strip()
    except OSError:
        return str(cpu)


def _quota() -> int | None:
    """How many CPUs' time the container is given, rounded up; None: no limit."""
    try:
        granted, period = _QUOTA.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return None
    return None if granted == "max" else math.ceil(int(granted) / int(period))
