"""``--report FILE.html``: a compile run as one page that needs nothing else: no network, no script, light, dark and paper.

It is made of the document of ``--json`` and of ``Evidence``, and measures nothing itself. What users chose (paths, names of films) is
escaped by the template; the page's own policy forbids scripts and every request besides.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from vadfast.atomic import write_text
from vadfast.compile.backends import all_backends
from vadfast.compile.distributions import version_of
from vadfast.compile.evidence import Evidence, Name
from vadfast.compile.gate_table import gate_table, words
from vadfast.compile.plots import (
    draw_agreement,
    draw_calibration,
    draw_heat,
    draw_race,
    draw_rounds,
)
from vadfast.compile.report import alert_words, false_alarm_words, int8_words
from vadfast.compile.svg import inline_svg
from vadfast.machine import machine, native_words, torch_gpu
from vadfast.race import Timing, ratio, short_ms, summarise

_TEMPLATE = "report.html"


def write_report(
    document: dict[str, Any], evidence: Evidence, file: Path, *, command_line: str
) -> None:
    """Writes the page; ``document`` is that of ``--json``, also of a run whose gate let nothing through."""
    from vadfast import __version__

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    bundle, rows = document["bundle"], [_Row(row, evidence) for row in document["race"]]
    rows.sort(key=lambda row: (row.batch, row.timing.median_ms if row.timing else float("inf")))
    races = [
        [(row.words, row.timing) for row in group if row.timing is not None]
        for _, group in groupby(rows, key=lambda row: row.batch)
    ]
    other = _compared(rows, evidence)
    load = (document["load"], document["load_after"])
    page = environment.get_template(_TEMPLATE).render(
        title=f"Compile report: {Path(bundle).name}"
        if bundle
        else "Compile report: nothing shipped",
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        bundle=bundle,
        verdict=_verdict(document, rows),
        n_rounds=max((len(t.round_ms) for race in races for _, t in race), default=0),
        load=load,
        notes=document["notes"],
        rows=[row.cells() for row in rows],
        compared="" if other is None else words(other),
        gate=document["gate"],
        int8=int8_words(document["gate"]["int8"]),
        judged=gate_table(document["gate"], evidence.auc_resolution),
        places=[_place(p.video, p.frame, p.abnormal) for p in evidence.pictures],
        calibration=document["calibration"],
        alert=document["alert"],
        alerts=alert_words(document["gate"]),
        false_alarms=false_alarm_words(document["calibration"]) if document["calibration"] else "",
        versions={"vadfast": __version__},
        facts=list(_facts(document, load)),
        command_line=command_line,
        **_figures(document, evidence, races, other),
    )
    write_text(file, page)


class _Row:
    """A row of the race in the words of the page; ``timing`` is of one window, whatever the batch, None where it did not run."""

    def __init__(self, values: dict[str, Any], evidence: Evidence) -> None:
        self.values = values
        self.name: Name = (values["backend"], values["precision"], values["batch"])
        self.batch, self.words = self.name[2], words(self.name)
        self.shipped: bool = values["shipped"]
        self.timing = _per_window(self.name, evidence)
        # What takes turns does the same work: a batch is compared with eager's of its own.
        eager = evidence.eager and _per_window((*evidence.eager[:2], self.batch), evidence)
        self.ratio = ratio(eager, self.timing) if eager and self.timing else None

    def cells(self) -> dict[str, Any]:
        """What its line of the table says."""
        v, t = self.values, self.timing
        return {
            "name": self.words,
            "shipped": self.shipped,
            "reason": v["reason"],
            "ms": f"{short_ms(t.median_ms)} [{short_ms(t.lo_ms)}, {short_ms(t.hi_ms)}]"
            if t
            else "-",
            "ratio": "{:.2f} [{:.2f}, {:.2f}]".format(*self.ratio) if self.ratio else "-",
            "error": "-" if v["max_score_error"] is None else f"{v['max_score_error']:.2g}",
            "delta": "-" if v["delta_auc"] is None else f"{v['delta_auc']:+.4f}",
            "spread": self._spread(),
            "threads": self._threads(),
        }

    def _spread(self) -> str:
        """Quantiles of the rounds: 50 %, 90 %, and 99 % or, of too few rounds for it, the slowest."""
        v = self.values
        if v["p90_ms"] is None:
            return "-"
        last = "p99_ms" if v["p99_ms"] is not None else "max_ms"
        p50, p90, end = (short_ms(v[k] / self.batch) for k in ("median_ms", "p90_ms", last))
        return f"{p50} / {p90} / {'max ' if last == 'max_ms' else ''}{end}"

    def _threads(self) -> str:
        if self.timing is None:
            return "-"
        number, pinned = self.values["threads"], self.values["pinned"]
        tied = {None: "", False: ", not tied to CPUs", True: ", tied to CPUs"}[pinned]
        return ("its own" if number is None else str(number)) + tied


def _per_window(name: Name, evidence: Evidence) -> Timing | None:
    answer = evidence.answers.get(name)
    if answer is None:
        return None
    return summarise([ms / name[2] for ms in answer.timing.round_ms])


def _compared(rows: Sequence[_Row], evidence: Evidence) -> Name | None:
    """Whom to show beside eager: what ships first, else the fastest that gave numbers, whose faults are then seen."""
    known = [
        row
        for row in rows
        if row.name != evidence.eager
        and row.name in evidence.answers
        and evidence.answers[row.name].whole
        and evidence.answers[row.name].finite
    ]
    return next((row.name for row in (*(r for r in known if r.shipped), *known)), None)


def _figures(
    document: dict[str, Any],
    evidence: Evidence,
    races: Sequence[Sequence[tuple[str, Timing]]],
    other: Name | None,
) -> dict[str, Any]:
    found: dict[str, Any] = dict.fromkeys(("race_svg", "rounds_svg", "heat_svg", "calibration_svg"))
    found["agreements"] = []
    if evidence.eager is None:
        return found
    eagers = {words(name) for name in evidence.answers if name[:2] == evidence.eager[:2]}
    found["race_svg"] = _svg(draw_race(races, eagers), "race", "median of each candidate")
    found["rounds_svg"] = _svg(
        draw_rounds([row for race in races for row in race], eagers), "rounds", "every round"
    )
    if other is not None:
        eager, answer = evidence.answers[evidence.eager], evidence.answers[other]
        found["heat_svg"] = _svg(
            draw_heat(evidence.pictures, eager, answer, words(other)), "heat", "heat maps of both"
        )
        bounds = next(
            c["bounds"]
            for c in document["gate"]["candidates"]
            if (c["backend"], c["precision"], c["batch"]) == other
        )
        for k, component in enumerate(evidence.components):
            figure = draw_agreement(
                eager,
                answer,
                evidence.labels,
                component=k,
                label=f"{component.name}, {component.unit}",
                bound=bounds[component.name],
                name=words(other),
            )
            caption = (
                f"{component.name}: high is {component.high_is}. Below: how far apart, in {component.unit}; dots at the bottom are "
                "windows on which both say the same to the last bit."
            )
            found["agreements"].append(
                {"svg": _svg(figure, f"agreement{k}", caption), "caption": caption}
            )
    if len(evidence.normal_scores):
        alert = document["alert"]
        figure = draw_calibration(
            evidence.normal_scores, alert["threshold"], alert["clear_threshold"]
        )
        found["calibration_svg"] = _svg(figure, "calibration", "scores of normal video")
    return found


def _verdict(document: dict[str, Any], rows: Sequence[_Row]) -> str:
    shipped = [row for row in rows if row.shipped]
    if not shipped:
        return "Nothing was written: no candidate that may ship keeps the scores of eager float32; the reasons are in the table."
    first, t = shipped[0], shipped[0].timing
    assert t is not None  # it ran
    others = f"; {len(shipped) - 1} more behind it" if shipped[1:] else ""
    times = f", {first.ratio[0]:.2f} times eager" if first.ratio else ""
    return (
        f"{document['bundle']} ({document['size'] / 1e6:.1f} MB), signed by {document['signer'][:16]}. {first.words} ships first: "
        f"{short_ms(t.median_ms)} ms a window{times}{others}."
    )


def _facts(document: dict[str, Any], load: tuple[float, float]) -> Iterator[tuple[str, str]]:
    here = machine(torch_gpu())
    yield "CPU", f"{here['cpu']}, {here['n_cpus']} CPUs, {', '.join(here['features'])}"
    yield "GPU", here["gpu"] or "none that torch can use"
    yield "native core", native_words(here["native"])
    yield "load average", f"{load[0]:.2f} before the race, {load[1]:.2f} after"
    packages = {package for backend in all_backends() for package in backend.packages}
    yield "versions", ", ".join(_versions([*sorted(packages, key=str.lower), "numpy", "onnx"]))
    yield "python", here["python"]
    if document["bundle"]:
        yield "bundle", document["bundle"]


def _versions(packages: Sequence[str]) -> Iterator[str]:
    for package in packages:
        try:
            yield f"{package} {version_of(package)}"
        except ModuleNotFoundError:  # its candidate says so in the table
            continue


def _place(video: str, frame: int, abnormal: bool | None) -> str:
    labelled = {None: "normal video", False: "labelled normal", True: "labelled abnormal"}[abnormal]
    return f"{video}, frame {frame}, {labelled}"


def _svg(figure: Figure, name: str, description: str) -> Markup:
    # Matplotlib escapes what is written into a figure.
    return Markup(inline_svg(figure, name, description))
