"""``python -m bench report``: docs/benchmarks.md and the table in the README, from the committed rows and nothing else.

Missed targets stand first, each with its reason (``bench/misses.toml``); where there is none yet the document says so, and the
tests refuse to have that committed.
"""

import json
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from bench.results import ROOT, Row, read_rows
from vadfast.atomic import write_text
from vadfast.errors import UsageError

REPOSITORY = Path(__file__).parents[1]
DOCUMENT, README = REPOSITORY / "docs" / "benchmarks.md", REPOSITORY / "README.md"
LINK = "docs/benchmarks.md"  # from the README
MISSES = Path(__file__).parent / "misses.toml"
NO_REASON = "No reason is given yet (bench/misses.toml)."
PUBLISHED = Path(__file__).parent / "published.toml"
PREDICTED = "predicted"  # the suite of what was counted for GPUs that are not here
NOT_SLOWER = "not slower than"
BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"


def report_texts() -> dict[Path, str]:
    """Returns what docs/benchmarks.md and README.md should say by the rows that are there.

    Raises:
        UsageError: there are no rows, or the README has no place for the table.
    """
    devices = {folder: _rows_of(folder) for folder in sorted(ROOT.iterdir()) if folder.is_dir()}
    devices = {folder: rows for folder, rows in devices.items() if rows}
    for rows in devices.values():
        for row in rows:
            if row.kind == "dry run":
                raise UsageError(
                    f"{ROOT}: {row.case} is of a dry run, whose numbers mean nothing; delete it"
                )
    if not devices:
        raise UsageError(f"{ROOT}: must hold result rows, has none; run python -m bench run first")
    everything = [row for rows in devices.values() for row in rows]
    missed = _missed(everything)
    return {
        DOCUMENT: "\n".join(_document(devices, missed)) + "\n",
        README: _with_table(README.read_text(encoding="utf-8"), everything),
    }


def write_report() -> list[Path]:
    """Writes both files and returns their paths; raises like ``report_texts``."""
    texts = report_texts()
    for path, text in texts.items():
        write_text(path, text)
    return list(texts)


def _rows_of(folder: Path) -> list[Row]:
    files = sorted(folder.glob("*.json"))
    return [row for file in files if file.name != "machine.json" for row in read_rows(file)]


def _missed(rows: Iterable[Row]) -> list[tuple[Row, str]]:
    reasons = _reasons()
    missed = [row for row in rows if row.met is False and row.suite != PREDICTED]
    return [(row, reasons.get(name_of_miss(row), NO_REASON)) for row in missed]


def _reasons() -> dict[str, str]:
    return tomllib.loads(MISSES.read_text(encoding="utf-8"))


def name_of_miss(row: Row) -> str:
    """Under what its reason stands; of what is counted for GPUs, without shape, precision and GPU."""
    if row.suite != PREDICTED:
        return f"{row.device}: {row.case}: {row.provider}"
    name, _, rest = row.case.partition(", ")
    # PSNR has a target of its own for each of its shapes.
    words = row.case if name == "psnr" else f"{name}, {rest.rpartition(', ')[2]}"
    return f"{PREDICTED}: {words}: {row.provider}"


def _document(devices: dict[Path, list[Row]], missed: Sequence[tuple[Row, str]]) -> Iterator[str]:
    yield "# Benchmarks\n"
    yield "Written by `python -m bench report` from the rows under `bench/results/`; each is made anew by its command. Where providers"
    yield "stand against each other, each result was verified before it was timed, the rounds alternated, and a ratio is that of the"
    yield "medians with its 95 % bootstrap interval over paired rounds; other rows say what they are. Times are medians, with the 20 % and"
    yield "80 % quantiles. Load is the load average before the case, most of it that of the cases before.\n"
    if missed:
        yield "## Targets that are missed\n"
        for row, reason in missed:
            yield f"- **{row.case}, {row.provider}**: {value_words(row)}, wanted {row.target} ({row.device}). {reason}"
        yield ""
    everything = [row for rows in devices.values() for row in rows]
    yield from _predicted([row for row in everything if row.suite == PREDICTED and row.target])
    yield from _published(everything)
    for folder, rows in devices.items():
        yield f"## {rows[0].device}\n"
        yield from _machine(folder)
        for suite in dict.fromkeys(row.suite for row in rows):
            yield from _suite(suite, [row for row in rows if row.suite == suite])


def _predicted(rows: Sequence[Row]) -> Iterator[str]:
    """One line for each target on GPUs, over shapes, precisions and GPUs."""
    if not rows:
        return
    gpus = " and ".join(dict.fromkeys(row.device for row in rows))
    yield "## Targets on GPUs, predicted\n"
    yield f"No GPU was there. Counted by `python -m bench predict` for {gpus}; what is assumed stands in `bench/predict.py`.\n"
    yield "| operator | against | wanted | predicted, over shapes and precisions | why |"
    yield "|---|---|---|---|---|"
    reasons = _reasons()
    for key in dict.fromkeys(name_of_miss(row) for row in rows):
        here = [row for row in rows if name_of_miss(row) == key]
        n_missed = sum(not row.met for row in here)
        ratios = [row.ratio or 0.0 for row in here]
        verdict = f"**missed** in {n_missed} of {len(here)}" if n_missed else "met"
        why = reasons.get(key, NO_REASON) if n_missed else ""
        name, _, peer = key.removeprefix(f"{PREDICTED}: ").rpartition(": ")
        wanted = here[0].target.removeprefix("vadfast ")
        yield f"| {name} | {peer} | {wanted} | {min(ratios):.3g}x to {max(ratios):.3g}x: {verdict} | {why} |"
    yield ""


def _published(rows: Sequence[Row]) -> Iterator[str]:
    yield "## What the papers publish, and what is measured here\n"
    yield "Other hardware, so the fair comparison is by work: GFLOP/s = frames/s x 2 GMAC, convolutions counted as they are written (Winograd"
    yield "needs fewer multiplications). The papers' rows are theirs, not measured here; ours are the fastest engine of each network below.\n"
    yield "| method | GMAC a frame | frames/s | GFLOP/s | on | |"
    yield "|---|---|---|---|---|---|"
    for speed in tomllib.loads(PUBLISHED.read_text(encoding="utf-8"))["speed"]:
        yield _speed(
            speed["method"],
            speed["gmac"],
            speed["frames_per_s"],
            speed["hardware"],
            speed["remark"],
        )
    counted = [row for row in rows if row.suite == "engines" and row.gflop and row.median_ms]
    for device, case in dict.fromkeys((row.device, row.case) for row in counted):
        here = [row for row in counted if (row.device, row.case) == (device, case)]
        best = min(here, key=lambda row: row.median_ms or 0.0)
        assert best.gflop is not None
        assert best.median_ms is not None
        yield _speed(
            f"vadfast, {case}", best.gflop / 2, 1e3 / best.median_ms, device, best.provider
        )
    yield ""


def _speed(method: str, gmac: float, frames_per_s: float, hardware: str, remark: str) -> str:
    work = 2 * gmac * frames_per_s
    return f"| {method} | {gmac:.3g} | {frames_per_s:.4g} | {work:.0f} | {hardware} | {remark} |"


def _machine(folder: Path) -> Iterator[str]:
    file = folder / "machine.json"
    if not file.exists():
        return
    m = json.loads(file.read_text(encoding="utf-8"))
    versions = ", ".join(f"{name} {version}" for name, version in m["versions"].items())
    yield f"{m['cpu']}, {m['n_cpus']} CPUs ({', '.join(m['flags'])}), {m['memory_gb']} GB, {m['system']}, Python {m['python']};"
    yield f"{versions}.\n"


def _suite(suite: str, rows: Sequence[Row]) -> Iterator[str]:
    yield f"### {suite}\n"
    for case in dict.fromkeys(row.case for row in rows):
        here = [row for row in rows if row.case == case]
        first = here[0]
        shape = f" ({first.shape})" if first.shape else ""
        rounds = next((f", {row.rounds} rounds" for row in here if row.rounds), "")
        steal = f", steal {first.steal:.1%}" if first.steal is not None else ""
        yield f"**{case}**{shape}; {first.kind} {first.date}, commit {first.commit}, load {first.load:g}{steal}{rounds}\n"
        for command in dict.fromkeys(row.command for row in here):
            yield f"    {command}\n"
        yield "| | result | against | roofline | target | verified, notes |"
        yield "|---|---|---|---|---|---|"
        for row in here:
            peak = (
                "" if row.peak_mb is None else f"one call holds {row.peak_mb:g} MB more at its peak"
            )
            notes = "; ".join(filter(None, (row.verified, peak, row.note)))
            name = f"{row.provider} {row.dtype}".strip()
            name += "" if row.at is None else f", {row.axis.partition(' [')[0]} {row.at:g}"
            yield f"| {name} | {value_words(row)} | {ratio_words(row)} | {_roofline(row)} | {_target(row)} | {notes} |"
        yield ""


def _roofline(row: Row) -> str:
    return "" if row.roofline is None else f"{row.roofline:.0%}"


def _target(row: Row) -> str:
    verdict = {True: "met", False: "**missed**", None: "not measured here"}[row.met]
    counted = "predicted, " if row.suite == PREDICTED else ""
    return f"{row.target}: {counted}{verdict}" if row.target else ""


def _with_table(text: str, rows: Sequence[Row]) -> str:
    if BEGIN not in text or END not in text:
        raise UsageError(f"{README}: must hold {BEGIN} and {END}, it does not; put them back")
    head, _, rest = text.partition(BEGIN)
    tail = rest.partition(END)[2]
    lines = ["| what | result | target | device, date |", "|---|---|---|---|"]
    measured = [row for row in rows if row.kind == "measured"]
    for suite in dict.fromkeys(row.suite for row in measured):
        lines.extend(_headlines([row for row in measured if row.suite == suite], rows))
    return "\n".join([f"{head}{BEGIN}", *lines, f"{END}{tail}"])


def _headlines(suite: Sequence[Row], rows: Sequence[Row]) -> Iterator[str]:
    """What a suite must reach: the first that it does, the number of the others, and every one that it does not."""
    wanted = [row for row in suite if row.target]
    usual = [row for row in wanted if row.target.startswith(NOT_SLOWER) and row.met]
    usual = usual if len(usual) > 1 else []
    met = [row for row in wanted if row.met and row not in usual]
    shown = met if len(met) < 3 else met[:1]
    for row in [*shown, *(row for row in wanted if not row.met)]:
        against = f" ({ratio_words(row)})" if row.ratio is not None else ""
        why = f" ([why]({LINK}#targets-that-are-missed))" if row.met is False else ""
        yield _line(
            f"{row.case}: {row.provider}",
            f"{value_words(row)}{against}",
            f"{_target(row)}{why}",
            row,
        )
    if shown != met:
        yield f"| {len(met) - 1} more targets of `{suite[0].suite}` | | met by all of them | [each]({LINK}) |"
    if usual:
        yield _usual(usual, rows)
    if suite[0].suite == "demo":  # what the pictures above the table show
        plain = [row for row in suite if not row.target]
        words = ", ".join(f"{row.provider} {value_words(row)}" for row in plain)
        yield _line(plain[0].case, words, "", plain[0])


def _line(what: str, result: str, target: str, row: Row) -> str:
    when = f"{row.device}, {row.kind} {row.date}, load {row.load:g}"
    return f"| {what} | {result} | {target} | {when} |"


def _usual(usual: Sequence[Row], rows: Sequence[Row]) -> str:
    """One line for the cases that had only to be faster than their reference, with those that somebody else wins."""
    best: dict[tuple[str, str], float] = {}
    for row in rows:
        case = row.device, row.case
        best[case] = max(best.get(case, 0.0), row.ratio_lo or 0.0)
    lost = sum(best[row.device, row.case] > (row.ratio_hi or 0.0) for row in usual)
    least = min(row.ratio or 0.0 for row in usual)
    beaten = f"; in {lost} another formulation or a compiler is faster still" if lost else ""
    return (
        f"| {len(usual)} more cases of `{usual[0].suite}` | {least:.2f}x what they are compared with, and up{beaten} | {NOT_SLOWER}: met by "
        f"all of them | [each]({LINK}) |"
    )


def value_words(row: Row) -> str:
    """``434 ms (431 to 440)``, ``0.912 AUC``, or a dash where there is none."""
    if row.median_ms is not None:
        return f"{row.median_ms:g} ms ({row.q20_ms:g} to {row.q80_ms:g})"
    return "-" if row.value is None else f"{row.value:g} {row.unit}".strip()


def ratio_words(row: Row) -> str:
    """``1.42x [1.40, 1.44] eager``."""
    if row.ratio is None:
        return ""
    if row.ratio_lo is None:  # predicted: there is nothing that scatters
        return f"{row.ratio:.3g}x {row.reference}"
    return f"{row.ratio:.2f}x [{row.ratio_lo:.2f}, {row.ratio_hi:.2f}] {row.reference}"
