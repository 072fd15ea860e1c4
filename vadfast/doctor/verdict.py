"""The verdict on a bundle as a document for scripts: examined, measured, and what follows for cameras."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from vadfast.doctor.bundle import Examination, Examined, examine, examine_bags
from vadfast.doctor.capacity import Costs, Fit, Memory, advice, fit, rates_of
from vadfast.doctor.films import CAMERAS, FilmCost, film_cost, made_films
from vadfast.doctor.memory import available_mb
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
    load, available = load_average(), available_mb()
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
        "available_mb": available,
        "capacity": None,
        "no_capacity": found.fault,
    }
    if not isinstance(manifest, Manifest):
        document["no_capacity"] = "bags of features come once a film: there are no cameras to count"
    elif found.fault is None and chosen is not None:
        try:
            films = list(_film_costs(video, manifest.input))
            document["capacity"] = _capacity(found, chosen, films, threads, utilisation, available)
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
        "available_mb": available_mb(),
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
    available: float,
) -> dict[str, Any]:
    assert isinstance(found.manifest, Manifest)
    cpus = n_cpus()
    more = _more(found, cpus, threads)

    def answers(engine: Examined, film: FilmCost) -> tuple[list[Fit], list[Fit]]:
        """Where a camera sends all that it sends, and where it sends what is scored alone."""
        assert engine.timing is not None  # it passed the self-test
        engine_ms, cpu_ms = engine.timing.median_ms, engine.cpu_ms
        costs = Costs(engine_ms, cpu_ms, film.decode_cpu_ms, film.prepare_cpu_ms)
        memory = Memory(available, engine.resident_mb, film.camera_mb)
        take = partial(fit, costs, memory, n_cpus=cpus, utilisation=utilisation)
        rates = rates_of(film.fps)
        return [take(rate=r, sent=film.fps) for r in rates], [take(rate=r, sent=r) for r in rates]

    def described(engine: Examined, film: FilmCost) -> list[dict[str, Any]]:
        return [
            asdict(both) | {"cameras_sending_rate": own.cameras}
            for both, own in zip(*answers(engine, film), strict=True)
        ]

    said = [
        f"for cameras of {film.width}x{film.height}, {advice(*answers(chosen, film), more=more)}"
        for film in films
    ]
    return {
        "n_cpus": cpus,
        "utilisation": utilisation,
        "available_mb": available,
        "engine_mb": chosen.resident_mb,
        "trained_fps": found.manifest.input.fps,
        "films": [asdict(film) | {"rates": described(chosen, film)} for film in films],
        "ladder": [
            {
                "backend": engine.artefact.backend,
                "precision": engine.artefact.precision,
                "batch": engine.artefact.batch,
                "engine_mb": engine.resident_mb,
                "films": [{"name": film.name, "rates": described(engine, film)} for film in films],
            }
            for engine in _larger_batches(found, chosen)
        ],
        "advice": said[len(said) // 2],  # of the middle size
    }


def _larger_batches(found: Examination, chosen: Examined) -> list[Examined]:
    """Of each other batch what ``open_engine(bundle, batch=...)`` opens here, where it scores right."""
    first: dict[int, Examined] = {}
    for examined in found.artefacts:
        if not examined.refusal:
            first.setdefault(examined.artefact.batch, examined)
    return [e for e in first.values() if e is not chosen and e.timing is not None]


def _more(found: Examination, available: int, threads: int | None) -> list[str]:
    """What else would help the engine here: what the commands can do."""
    chosen, ways = found.chosen, []
    if chosen is not None and chosen.timing is not None:
        bound = _FASTER * chosen.timing.median_ms
        # Of another batch the ladder says what it is worth; a command opens the smallest.
        alike = [a for a in found.artefacts if a.artefact.batch == chosen.artefact.batch]
        timed = [(a.timing.median_ms, a) for a in alike if a.timing is not None]
        ms, best = min(timed, key=lambda pair: pair[0])
        if ms < bound:
            name = best.artefact.backend
            named = next(a for a in found.artefacts if a.artefact.backend == name and not a.refusal)
            ways.append(
                f"run vadfast.score with --backend {name}, {ms:.3g} ms a window here"
                if named is best
                else f"compile again on this machine, where {name} {best.artefact.precision} is faster: {ms:.3g} ms a window"
            )
    if threads is not None and threads < available:
        ways.append(
            f"leave out --threads or give more (the engine had {threads}, there are {available} CPUs)"
        )
    lacking = {need for a in found.artefacts for need in a.artefact.needs} - cpu_features()
    if lacking:
        ways.append(
            f"take a machine whose CPU has {' and '.join(sorted(lacking))} instructions: the bundle is ready for it"
        )
    return ways
