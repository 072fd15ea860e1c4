"""Examines a bundle on this machine: whose it is, which of its artefacts run, whether they score right, what they cost. No torch.

The seals are checked first, as whenever a bundle is opened; the rest is measured here, whatever the compiling machine found.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vadfast.doctor.memory import resident_mb
from vadfast.errors import BackendError, EngineMismatch
from vadfast.progress import Steps, steps
from vadfast.race import Call, Timing, alternate, summarise, wall_clock
from vadfast.runtime.bag_manifest import BagManifest
from vadfast.runtime.bags import SCORE, open_bag_bundle
from vadfast.runtime.bundle import Bundle, open_bundle, verify
from vadfast.runtime.engine import load_artefact
from vadfast.runtime.manifest import Artefact, Manifest
from vadfast.runtime.selftest import check_golden, golden_array
from vadfast.runtime.signature import Trust


@dataclass(frozen=True, slots=True)
class Examined:
    """One artefact here; ``timing`` is None where it cannot run, or scores wrongly."""

    artefact: Artefact
    refusal: str = ""  # why it cannot run
    fault: str = ""  # how it scores wrongly
    errors: dict[str, float] = field(default_factory=dict)  # of the self-test, by component
    timing: Timing | None = None  # milliseconds a window, or a bag
    cpu_ms: float = 0.0  # CPU time a window, of all threads
    resident_mb: float = 0.0  # of the process, with this engine loaded


@dataclass(frozen=True, slots=True)
class Examination:
    """A whole bundle here."""

    path: Path
    manifest: Manifest | BagManifest
    artefacts: tuple[Examined, ...]

    @property
    def chosen(self) -> Examined | None:
        """The artefact that ``auto`` takes: the first that runs; None where none does."""
        return next((a for a in self.artefacts if not a.refusal), None)

    @property
    def fault(self) -> str | None:
        """Why the bundle cannot score here, or None."""
        if self.chosen is not None:
            return self.chosen.fault or None
        reasons = "; ".join(
            f"{a.artefact.backend} {a.artefact.precision}: {a.refusal}" for a in self.artefacts
        )
        return (
            f"{self.path.name}: none of its engines can run on this machine ({reasons}); compile the run again on a machine like "
            "this one"
        )


def examine(path: Path, *, trust: Trust, threads: int | None, rounds: int) -> Examination:
    """Opens the bundle of frames at ``path``; loads, tests and times its artefacts, one after the other.

    Raises:
        BundleError: it is absent, damaged, signed by nobody that is trusted, or scores bags.
    """
    bundle = open_bundle(path, trust)
    artefacts = bundle.manifest.artefacts
    with steps("measuring engines", len(artefacts) * (rounds + 1)) as bar:
        found = []
        for i, artefact in enumerate(artefacts):
            found.append(_examine(bundle, artefact, threads, rounds, bar))
            bar.update((i + 1) * (rounds + 1))
    return Examination(path, bundle.manifest, tuple(found))


def examine_bags(path: Path, *, trust: Trust, rounds: int) -> Examination:
    """The same for a bundle that scores bags of features, which has one artefact. Raises BundleError."""
    folder, manifest, _unpacked = verify(path, BagManifest, trust)
    artefact = manifest.artefacts[0]
    try:
        engine = open_bag_bundle(path, trust).engine
    except EngineMismatch as error:
        return Examination(path, manifest, (Examined(artefact, fault=str(error)),))
    except BackendError as error:
        return Examination(path, manifest, (Examined(artefact, refusal=str(error)),))
    golden = manifest.golden
    bags, expected = (golden_array(folder / name) for name in (golden.frames, golden.components))
    off = float(np.abs(engine(bags) - expected).max())
    with steps("measuring the engine", rounds + 1) as bar:
        timing, cpu_ms = _measure(lambda i: engine(bags[i % len(bags)][None]), rounds, bar)
    measured = Examined(
        artefact, errors={SCORE: off}, timing=timing, cpu_ms=cpu_ms, resident_mb=resident_mb()
    )
    return Examination(path, manifest, (measured,))


def _examine(
    bundle: Bundle, artefact: Artefact, threads: int | None, rounds: int, bar: Steps
) -> Examined:
    try:
        engine = load_artefact(bundle, artefact, threads)
    except EngineMismatch as error:  # it is no reason to try the next: a score run stops here too
        return Examined(artefact, fault=str(error))
    except BackendError as error:
        return Examined(artefact, refusal=str(error))
    try:
        errors = check_golden(bundle, engine, artefact)
        batches = _batches(golden_array(bundle.file(bundle.manifest.golden.frames)), engine.batch)
        timing, cpu_ms = _measure(lambda i: engine(batches[i % len(batches)]), rounds, bar)
        resident = resident_mb()
    except EngineMismatch as error:
        return Examined(artefact, fault=str(error))
    finally:
        engine.close()
    per_window = summarise([ms / engine.batch for ms in timing.round_ms])
    return Examined(
        artefact,
        errors=errors,
        timing=per_window,
        cpu_ms=cpu_ms / engine.batch,
        resident_mb=resident,
    )


def _batches(windows: npt.NDArray[np.uint8], batch: int) -> list[npt.NDArray[np.uint8]]:
    """``windows`` [n, T, H, W, 3] in whole batches; fewer windows than a batch come several times."""
    n = len(windows)
    return [
        windows[(np.arange(batch) + first) % n] for first in range(0, max(n - batch, 0) + 1, batch)
    ]


def _measure(call: Call, rounds: int, bar: Steps) -> tuple[Timing, float]:
    """Returns how long a call takes, and its CPU time in milliseconds."""
    cpu_ms: list[float] = []

    def clock(timed: Call, first: int, n_calls: int) -> float:
        start = time.process_time()
        wall_ms = wall_clock(timed, first, n_calls)
        cpu_ms.append((time.process_time() - start) * 1e3 / n_calls)
        return wall_ms

    (timing,) = alternate([call], rounds=rounds, steps=bar, clock=clock)
    # The first one only finds out how many calls a round needs.
    return timing, float(np.median(cpu_ms[1:]))
