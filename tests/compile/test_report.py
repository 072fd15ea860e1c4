"""What a compile run tells of its race: tables that fit, times of a window, ties and doubts."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from vadfast.compile.report import (
    Report,
    Row,
    named_ties,
    note_load,
    print_report,
    quantiles_ms,
    race_table,
)


def test_the_widest_numbers_fit_into_a_plain_terminal() -> None:
    console = Console(width=80, file=io.StringIO())
    slow = Row("openvino", "int8-bf16", 1, 0.0773, 0.0602, 0.0919, 3.8e-06, -0.0001, shipped=True)
    rows = (slow, replace(slow, median_ms=10.2, lo_ms=0.0123), Row("eager", "fp32", 1, 10.25))
    console.print(race_table(rows, load=(10.0, 12.5)))
    out = console.file.getvalue()
    assert "0.0773 [0.0602, 0.0919]" in out
    assert "ships" in out
    assert "…" not in out
    assert max(len(line.rstrip()) for line in out.splitlines()) <= 80


def test_a_batch_is_shown_by_the_window() -> None:
    console = Console(width=80, file=io.StringIO())
    rows = (Row("openvino", "fp32", 4, 40.0, 36.0, 44.0), Row("eager", "fp32", 4, 80.0, 80.0, 80.0))
    console.print(race_table(rows, load=(1.0, 1.0)))
    out = console.file.getvalue()
    assert "race at batch 4" in out
    assert "ms a window [95 %]" in out
    assert "10 [9, 11]" in out
    assert "2.00x" in out
    unknown = Row("mnn", "fp32", 4, reason="is not installed")
    told = Report(None, 80.0, (*rows, unknown), {}, 1.0, 1.0).to_json()["race"]
    assert [row["median_ms"] for row in told] == [40, 80, None]
    assert [row["window_ms"] for row in told] == [10, 20, None]


def test_the_first_says_that_the_second_may_be_as_fast() -> None:
    first = Row("openvino", "fp32", 1, 10.0, 9.0, 11.0, shipped=True, reason="ships first")
    second = Row("mnn", "fp32", 1, 12.0, 11.5, 13.0, shipped=True, reason="ships as choice 2")
    peer = Row("eager", "fp32", 1, 10.5, 10.0, 11.0, reason="the reference")
    other = replace(first, batch=4, median_ms=11.6, lo_ms=11.4, hi_ms=11.7)
    rows = (peer, second, first, other)
    assert named_ties(rows) == rows
    near = replace(second, lo_ms=10.9)
    tied = named_ties((peer, near, first, other))
    assert tied[2].reason == "ships first; a tie with mnn fp32: their 95 % intervals overlap"
    assert (tied[0], tied[1], tied[3]) == (peer, near, other)


def test_a_race_that_will_be_uncertain_is_noted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("vadfast.compile.report.n_cpus", lambda: 2)
    for rounds, load, said in ((3, 2.5, True), (3, 1.5, False), (15, 2.5, False)):
        note_load(rounds, load)
        assert ("make the race uncertain" in capsys.readouterr().err) == said


def test_a_hundredth_is_said_of_a_hundred_rounds_alone() -> None:
    few = quantiles_ms([float(ms) for ms in range(1, 16)])
    assert few == {"p90_ms": pytest.approx(13.6), "p99_ms": None, "max_ms": 15}
    many = quantiles_ms([float(ms) for ms in range(101)])
    assert many == {"p90_ms": pytest.approx(90), "p99_ms": pytest.approx(99), "max_ms": 100}
    assert set(quantiles_ms([]).values()) == {None}


def test_a_note_is_printed_and_stands_in_the_document() -> None:
    gate = {
        "n_windows": 24,
        "labels": "",
        "bounds": {},
        "int8": {"refused": "not asked for", "n_layers": 0, "kept": []},
    }
    calibration = {"n_frames": 50, "source": "made", "score_quantiles": {"0.5": 0.0, "0.99": 1.0}}
    calibration |= {"false_alarms": None, "tail": None}
    names = ("raise_count", "raise_window", "threshold", "clear_count", "clear_threshold")
    report = Report(
        None,
        6.0,
        (Row("eager", "fp32", 1, 6.0, 6.0, 6.0),),
        gate,
        1.0,
        1.0,
        notes=("slower than eager float32: [b]",),
        calibration=calibration,
        alert=dict.fromkeys(names, 1),
    )
    console = Console(width=80, file=io.StringIO())
    print_report(report, console)
    assert "note: slower than eager float32: [b]\n" in console.file.getvalue()
    assert report.to_json()["notes"] == ("slower than eager float32: [b]",)
