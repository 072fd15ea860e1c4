"""Result rows: kept whole, replaced by case, compared by what noise allows."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from bench.compare import compare
from bench.plot import plot_results
from bench.report import MISSES, name_of_miss, ratio_words, report_texts, value_words
from bench.results import ROOT, Row, read_rows, write_rows
from vadfast.cli import exit_code_of
from vadfast.errors import UsageError


def _row(provider: str, **values: Any) -> Row:
    fixed = {"suite": "s", "case": "c", "shape": "1x2", "dtype": "fp32", "device": "box"}
    rest = {"date": "2026-11-21", "commit": "abc", "load": 0.1}
    return Row(provider=provider, **(fixed | rest | values))


def test_rows_survive_the_file(tmp_path: Path) -> None:
    timed = _row("a", median_ms=1.5, q20_ms=1.4, q80_ms=1.6, met=False, target="< 1 ms")
    rows = [timed, _row("b", shape="", dtype="")]  # a provider that did not run has neither
    (path,) = write_rows(rows, tmp_path)
    assert read_rows(path) == rows
    keys = {"suite", "case", "provider", "shape", "dtype", "median_ms", "q20_ms", "q80_ms"}
    assert keys | {"kind", "device", "date", "commit", "load"} <= set(
        json.loads(path.read_text())[0]
    )


def test_a_case_run_again_replaces_its_rows_and_no_other(tmp_path: Path) -> None:
    write_rows([_row("a"), _row("gone"), _row("a", case="other")], tmp_path)
    (path,) = write_rows([_row("a", value=2.0)], tmp_path)
    assert [(r.case, r.provider, r.value) for r in read_rows(path)] == [
        ("other", "a", None),
        ("c", "a", 2.0),
    ]


@pytest.mark.parametrize("text", ["{", "[1]", '[{"suite": "s"}]', '[{"nonsense": 1}]'])
def test_a_damaged_file_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(UsageError, match="must be a JSON list of rows"):
        read_rows(tmp_path / "s.json")


def _timed(ratio: float, width: float = 0.05, **values: Any) -> Row:
    interval = {"ratio": ratio, "ratio_lo": ratio - width, "ratio_hi": ratio + width}
    return _row(
        "fast", median_ms=10.0, q20_ms=9.0, q80_ms=11.0, reference="eager", **(interval | values)
    )


@pytest.mark.parametrize(
    ("old", "new", "regressed"),
    [
        (_timed(2.0), _timed(1.95), False),  # the intervals overlap
        (_timed(2.0), _timed(1.8), True),
        (_timed(2.0), _timed(2.5), False),
        (
            _row("fast", value=0.92, met=True),
            _row("fast", value=0.90, met=False, target=">= 0.91"),
            True,
        ),
        (_row("fast", value=0.90, met=False), _row("fast", value=0.89, met=False), False),
        (
            _row("fast", value=1.0),
            _row("fast", value=9.0),
            False,
        ),  # no target, no ratio: not judged
        (_timed(2.0), _row("fast", note="wrong, so not timed"), True),
        (_timed(2.0), _row("other"), True),
        (_row("fast", note="not installed"), _row("fast", note="not installed"), False),
    ],
)
def test_a_regression_is_a_ratio_outside_the_interval_or_a_target_lost(
    tmp_path: Path, old: Row, new: Row, regressed: bool
) -> None:
    from bench.__main__ import compare as command

    write_rows([old], tmp_path / "old")
    write_rows([new], tmp_path / "new")
    (change,) = compare(tmp_path / "old", tmp_path / "new")
    assert change.regressed is regressed
    arguments = [str(tmp_path / "old"), str(tmp_path / "new" / "s.json")]
    assert exit_code_of(command, name="bench compare", arguments=arguments) == int(regressed)


def test_nothing_in_common_is_a_usage_error(tmp_path: Path) -> None:
    write_rows([_row("a")], tmp_path / "old")
    write_rows([_row("a", case="other")], tmp_path / "new")
    with pytest.raises(UsageError, match="share none"):
        compare(tmp_path / "old", tmp_path / "new")


def test_words() -> None:
    assert value_words(_timed(1.42)) == "10 ms (9 to 11)"
    assert ratio_words(_timed(1.42)) == "1.42x [1.37, 1.47] eager"
    assert value_words(_row("a", value=0.912, unit="AUC")) == "0.912 AUC"
    assert value_words(_row("a", note="not installed")) == "-"


def test_plots_are_drawn_from_rows_alone(tmp_path: Path) -> None:
    cost = {"gflop": 2.0, "mbyte": 8.0, "roofline": 0.5, "copy_gb_s": 16.0, "matrix_gflop_s": 150.0}
    write_rows([_timed(2.0, **cost), _timed(0.8, case="other", **cost)], tmp_path)
    growing = [_row("a", case="by batch", axis="batch", at=n, value=10.0 * n) for n in (1, 2, 4)]
    write_rows(growing, tmp_path)
    names = {path.name for path in plot_results(tmp_path)}
    assert names == {"s_speedup.png", "s_roofline.png", "s_growth.png"}
    assert all((tmp_path / name).stat().st_size > 5_000 for name in names)
    write_rows([_row("a")], tmp_path / "bare")
    with pytest.raises(UsageError, match="has none"):
        plot_results(tmp_path / "bare")


def test_the_published_report_is_what_the_rows_say() -> None:
    for path, text in report_texts().items():
        assert path.read_text() == text, f"{path.name} is stale: run python -m bench report"


def test_every_miss_has_its_reason_and_every_reason_its_miss() -> None:
    missed = {
        name_of_miss(row)
        for file in ROOT.glob("*/*.json")
        if file.name != "machine.json"
        for row in read_rows(file)
        if row.met is False
    }
    assert tomllib.loads(MISSES.read_text()).keys() == missed


def test_published_rows_are_verified_or_say_why_not() -> None:
    files = [file for file in ROOT.glob("*/*.json") if file.name != "machine.json"]
    rows = [row for file in files for row in read_rows(file)]
    assert rows
    for row in rows:
        assert row.command.startswith("python -m "), row
        assert row.kind == "predicted" or row.verified or row.note or row.unit == "MB", row
        if row.median_ms is not None:
            assert row.verified, row
