"""The verdict on a bundle (``verdict.judge``) as tables for people."""

from collections.abc import Iterator
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

_LIMITS = {"engine": "engine", "decode": "decoding", "prepare": "preparing", "memory": "memory"}


def print_verdict(document: dict[str, Any], out: Console) -> None:
    """Prints the document of ``--json``'s key "bundle"."""
    frames = document["takes"] == "frames"
    out.print(
        f"{document['path']}: sealed and unchanged; {document['method']}, compiled {document['created']}, scores {document['takes']}",
        markup=False,
    )
    out.print(_artefacts(document["artefacts"], "window" if frames else "bag"))
    for line in _reasons(document["artefacts"]):
        out.print(line, markup=False)
    busy = " (others use the CPUs: clock times are too long)" if document["busy"] else ""
    out.print(
        f"load average before: {document['load']:.1f}{busy}; memory free before: {document['available_mb']:,.0f} MB"
    )
    if document["capacity"] is not None:
        _print_capacity(document["capacity"], out)
    elif document["fault"] is None:
        out.print(f"cameras: {document['no_capacity']}", markup=False)


def _artefacts(artefacts: list[dict[str, Any]], unit: str) -> Table:
    table = _table(f"artefacts: milliseconds a {unit}, memory of the process")
    for name in ("artefact", "here", "self-test"):
        table.add_column(name, no_wrap=True)
    for name in (r"ms \[95 %]", "MB"):
        table.add_column(name, justify="right", no_wrap=True)
    for a in artefacts:
        test, timed = a["self_test"], a["median_ms"] is not None
        table.add_row(
            _name(a),
            "would run" if a["chosen"] else "can run" if a["can_run"] else "cannot run",
            "-" if test is None else "passed" if test["passed"] else "fails",
            f"{a['median_ms']:.3g} \\[{a['lo_ms']:.3g}, {a['hi_ms']:.3g}]" if timed else "-",
            f"{a['resident_mb']:,.0f}" if a["resident_mb"] is not None else "-",
            style="bold" if a["chosen"] else None,
        )
    return table


def _reasons(artefacts: list[dict[str, Any]]) -> Iterator[str]:
    for a in artefacts:
        if a["self_test"] is None:
            yield f"{_name(a)}: {a['reason']}"
        elif not a["self_test"]["passed"]:
            yield a["self_test"]["fault"]
        else:
            errors, allowed = a["self_test"]["errors"], a["self_test"]["tolerance"]
            worst = ", ".join(
                f"{n} off by {e:.2g} (allowed {allowed[n]:g})" for n, e in errors.items()
            )
            yield f"{_name(a)}: {worst}; {a['compiled_ms']:.3g} ms where it was compiled"


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))


def _print_capacity(capacity: dict[str, Any], out: Console) -> None:
    films = capacity["films"]
    table = _table(
        f"cameras that fit, with their bottleneck, in {capacity['utilisation']:.0%} of {capacity['n_cpus']} CPUs "
        f"and of {capacity['available_mb']:,.0f} MB"
    )
    table.add_column("scored of each", no_wrap=True)
    for film in films:
        table.add_column(escape(film["name"]), justify="right")
    for rates in zip(*(film["rates"] for film in films), strict=True):
        cells = map(_count, rates)
        table.add_row(f"{rates[0]['rate']:g} frames/s", *cells)
    out.print(table)
    for film in films:
        made = "made, H.264" if film["made"] else f"your film, {film['width']}x{film['height']}"
        lacking = "it has no frame rate, so taken to be " if film["fps_assumed"] else ""
        out.print(
            f"{film['name']} ({made}, {lacking}{film['fps']:g} frames/s sent): {film['decode_cpu_ms']:.2f} ms CPU to decode a frame, "
            f"{film['prepare_cpu_ms']:.2f} ms to prepare a scored one, {film['camera_mb']:,.0f} MB a camera beside {capacity['engine_mb']:,.0f} MB "
            "of the engine",
            markup=False,
        )
    for step in capacity["ladder"]:
        out.print(_step(step), markup=False)
    out.print("Cameras send more frames than are scored: those are skipped, but must be decoded.")
    if (fps := capacity["trained_fps"]) is not None:
        out.print(f"Trained at {fps:g} frames/s: at another rate, motion looks faster or slower.")
    out.print(f"Next: {capacity['advice']}.", markup=False)


def _step(step: dict[str, Any]) -> str:
    """What another batch would be worth, in the order of the table's rows."""
    counts = "; ".join(
        f"{film['name']} {', '.join(map(_count, film['rates']))}" for film in step["films"]
    )
    return f"{_name(step)} (vadfast.runtime.engine.open_engine(bundle, batch={step['batch']}); commands take the smallest): {counts}"


def _count(fitted: dict[str, Any]) -> str:
    return f"{fitted['cameras']} {_LIMITS[fitted['bottleneck']]}"


def _name(artefact: dict[str, Any]) -> str:
    return f"{artefact['backend']} {artefact['precision']} batch {artefact['batch']}"
