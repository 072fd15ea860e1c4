"""The verdict on a bundle as a document for scripts: examined, measured, and what follows for cameras."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from vadfast.doctor.bundle import Examination, Examined, examine, examine_bags
from vadfast.doctor.capacity import Costs, advice, fit, rates_of
from vadfast.doctor.films import CAMERAS, FilmCost, film_cost, made_films
from vadfast.errors import BackendError, BundleError, UsageError
from vadfast.progress import steps
from vadfast.race import load_average
from vadfast.runtime.bundle import takes
from vadfast.runtime.engine import cpu_features, n_cpus
from vadfast.runtime.manifest import InputSpec, Manifest
from vadfast.runtime.signature import Trust

# The order is that of the race on the compiling machine: an artefact that is that much faster here is worth a word.
_FASTER = 0.9
_BUSY = 0.5  # of the CPUs: beyond it, times on the clock are those of a machine that does something else


def judge(
    path: Path,
    *,
    trust: Trust,
    video: Path | None,
    threads: int | None,
    rounds: int,
    utilisation: float,
) -> dict[str, Any]:
    """Examines the bundle at ``path`` and returns the document of ``--json``'s key "bundle" (docs/doctor.md).

    Raises:
        BundleError: it is absent, damaged, or signed by nobody that is trusted; ``refused`` is then the document.
        SourceError: ``video`` is no video.
    """
    load = load_average()
    if takes(path) == "bags":
        found = examine_bags(path, trust=trust, rounds=rounds)
    else:
        found = examine(path, trust=trust, threads=threads, rounds=rounds)
    manifest, chosen = found.manifest, found.chosen
    document: dict[str, Any] = {
        "path": str(path),
        "takes": "frames" if isinstance(manifest, Manifest) else "bags",
        "method": manifest.method,
        "created": manifest.created,
        "vadfast_version": manifest.vadfast_version,
        "fault": found.fault,
        "artefacts": [_artefact(a, chosen=a is chosen) for a in found.artefacts],
        "load": load,
        "busy": load > _BUSY * n_cpus(),
        "available_mb": psutil.virtual_memory().available / 1e6,
        "capacity": None,
        "no_capacity": found.fault,
    }
    if not isinstance(manifest, Manifest):
        document["no_capacity"] = "bags of features come once a film: there are no cameras to count"
    elif found.fault is None and chosen is not None:
        try:
            films = list(_film_costs(video, manifest.input))
            document["capacity"] = _capacity(found, chosen, films, threads, utilisation)
        # Such as maps that a teacher wants of each film: clips have none.
        except UsageError as error:
            document["no_capacity"] = str(error)
        except BackendError as error:  # a teacher cannot run, so nothing can be scored
            document["no_capacity"] = document["fault"] = str(error)
    return document


def refused(path: Path, error: BundleError) -> dict[str, Any]:
    """Returns the same document of a bundle whose seals do not hold: nothing in it is believed, not even its method."""
    load = load_average()
    return {
        "path": str(path),
        "takes": None,
        "method": None,
        "created": None,
        "vadfast_version": None,
        "fault": str(error),
        "artefacts": [],
        "load": load,
        "busy": load > _BUSY * n_cpus(),
        "available_mb": psutil.virtual_memory().available / 1e6,
        "capacity": None,
        "no_capacity": str(error),
    }


def _film_costs(video: Path | None, spec: InputSpec) -> Iterator[FilmCost]:
    if video is not None:
        yield film_cost(video, spec)
        return
    with steps("measuring decoding", len(CAMERAS), unit="films") as bar, made_films() as films:
        for film in films:
            yield film_cost(film, spec, made=True)
            bar.advance()


def _artefact(examined: Examined, *, chosen: bool) -> dict[str, Any]:
    artefact, timing = examined.artefact, examined.timing
    ran = not examined.refusal
    return {
        "backend": artefact.backend,
        "precision": artefact.precision,
        "batch": artefact.batch,
        "can_run": ran,
        "reason": examined.refusal,
        "chosen": chosen,
        "self_test": {
            "passed": not examined.fault,
            "fault": examined.fault,
            "errors": examined.errors,
            "tolerance": artefact.tolerance,
        }
        if ran
        else None,
        "median_ms": timing and timing.median_ms,
        "lo_ms": timing and timing.lo_ms,
        "hi_ms": timing and timing.hi_ms,
        "cpu_ms": timing and examined.cpu_ms,
        "compiled_ms": artefact.median_ms / artefact.batch,
        # The process of a later one still holds the libraries of those before it.
        "resident_mb": examined.resident_mb if chosen and timing else None,
    }


def _capacity(
    found: Examination,
    chosen: Examined,
    films: Sequence[FilmCost],
    threads: int | None,
    utilisation: float,
) -> dict[str, Any]:
    assert chosen.timing is not None  # it passed the self-test
    assert isinstance(found.manifest, Manifest)
    engine_ms, cpus = chosen.timing.median_ms, n_cpus()
    more = _more(found, cpus, threads)
    described, said = [], []
    for film in films:
        costs = Costs(engine_ms, chosen.cpu_ms, film.decode_cpu_ms, film.prepare_cpu_ms)
        take = partial(fit, costs, n_cpus=cpus, utilisation=utilisation)
        rates = rates_of(film.fps)
        every = [take(rate=rate, sent=film.fps) for rate in rates]
        alone = [take(rate=rate, sent=rate) for rate in rates]
        answers = [
            asdict(both) | {"cameras_sending_rate": own.cameras}
            for both, own in zip(every, alone, strict=True)
        ]
        described.append(asdict(film) | {"rates": answers})
        said.append(f"for cameras of {film.width}x{film.height}, {advice(every, alone, more=more)}")
    return {
        "n_cpus": cpus,
        "utilisation": utilisation,
        "trained_fps": found.manifest.input.fps,
        "films": described,
        "advice": said[len(said) // 2],  # of the middle size
    }


def _more(found: Examination, available: int, threads: int | None) -> list[str]:
    """What else would help the engine here."""
    chosen = found.chosen
    timed = [(a.timing.median_ms, a.artefact) for a in found.artefacts if a.timing is not None]
    ways = []
    ms, best = min(timed, key=lambda pair: pair[0])
    if chosen is not None and chosen.timing and ms < _FASTER * chosen.timing.median_ms:
        ways.append(
            f"take {best.backend} {best.precision} at batch {best.batch}, {ms:.3g} ms a window here"
        )
    if threads is not None and threads < available:
        ways.append(f"give the engine more threads (it had {threads}, there are {available} CPUs)")
    lacking = {need for a in found.artefacts for need in a.artefact.needs} - cpu_features()
    if lacking:
        ways.append(
            f"take a machine whose CPU has {' and '.join(sorted(lacking))} instructions: the bundle is ready for it"
        )
    return ways
