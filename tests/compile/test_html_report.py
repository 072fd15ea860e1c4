"""The page of a compile run: whole by itself, true to the run, safe with whatever a path is called, also where nothing shipped."""

import json
import re
from collections.abc import Sequence
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.compile.tiny import CARD
from vadfast.cli import exit_code_of
from vadfast.compile import build as build_module
from vadfast.compile import int8, judging
from vadfast.compile.__main__ import command
from vadfast.compile.answers import Scored
from vadfast.compile.candidates import Candidate
from vadfast.compile.evidence import N_PICTURES, Answer, Evidence
from vadfast.compile.gate_table import gate_table
from vadfast.compile.plots import draw_agreement, draw_calibration, draw_race, draw_rounds
from vadfast.compile.svg import inline_svg
from vadfast.compile.windows import Run
from vadfast.race import summarise
from vadfast.runtime.bundle import open_bundle
from vadfast.runtime.engine import Engine

EVIL = '<script>alert("1")</script>&'


class _Page(HTMLParser):
    """What a browser would see: elements with their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def _compile(run: Path, out: Path, *arguments: object) -> int:
    given = [run, "--out", out, "--rounds", 3, "--gate-windows", 24, *arguments]
    return exit_code_of(command, name="compile", arguments=[str(a) for a in given])


@pytest.mark.usefixtures("no_inductor")
def test_the_page_is_whole_and_says_what_the_run_found(
    run: Path,
    tmp_path: Path,
) -> None:
    out, file = tmp_path / "a.vad", tmp_path / "report.html"
    assert _compile(run, out, "--report", file, "--json", tmp_path / "c.json") == 0
    text, document = file.read_text(), json.loads((tmp_path / "c.json").read_text())
    page = _Page(text)
    tags = [tag for tag, _ in page.elements]
    assert not {"script", "link", "iframe", "object", "base", "form"} & set(tags)
    assert "://" not in text, "no address at all"
    assert "url(#" in text
    assert not re.search(r"url\((?!#)|@import", text)
    for _, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "srcset", "action"):
            if (value := attributes.get(name)) is not None:
                assert value.startswith(("#", "data:image/png;base64,"))
        assert not [name for name in attributes if name.startswith("on")]
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', text)) == set(ids)
    assert tags.count("svg") == 5  # race, rounds, one component, heat maps, calibration
    assert text.count("data:image/png") == 2 * 4, "two pieces of film: frame, both maps, apart"

    for row in document["race"]:
        assert row["reason"] in page.text
        if row["median_ms"] is not None:
            assert f"{row['median_ms']:.3g} [{row['lo_ms']:.3g}, {row['hi_ms']:.3g}]" in page.text
    for words in (
        f"{document['gate']['n_windows']} real windows",
        f"{document['calibration']['n_frames']} frames of",
        f"exceed {document['alert']['threshold']:.2f}",
        f"{document['gate']['labelled_spans']['n']} labelled spans in the gate's windows would raise one",
        document["signer"][:16],
        "load average",
        "torch 2",
        "vadfast 0.",
    ):
        assert words in page.text
    assert "command" in page.text
    assert "@media (prefers-color-scheme: dark)" in text
    assert "@media print" in text
    assert open_bundle(out).manifest.method == "tiny"


@pytest.mark.usefixtures("no_inductor")
def test_what_users_chose_is_text_and_nothing_else(
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / EVIL.replace("/", "\N{DIVISION SLASH}")
    folder.mkdir()
    out, file = folder / "a.vad", tmp_path / "report.html"
    monkeypatch.setattr("sys.orig_argv", ["python", "-m", "vadfast.compile", EVIL])
    assert _compile(run, out, "--report", file, "--calibrate", folder) == 0
    text = file.read_text()
    page = _Page(text)
    assert "script" not in {tag for tag, _ in page.elements}
    assert "<script" not in text
    assert str(out) in page.text
    assert EVIL in page.text, "the command line, as it was given"
    assert unescape(text).count("alert") >= 3, "bundle, calibration and command"


@pytest.mark.usefixtures("no_inductor")
@pytest.mark.parametrize(
    ("off", "words", "n_figures"),
    [
        (1.0, "psnr is off by 1 dB, allowed 0.01", 4),
        (np.nan, "its scores or heat maps are not finite", 2),
    ],
)
def test_a_run_whose_gate_let_nothing_through_has_its_page_too(
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    off: float,
    words: str,
    n_figures: int,
) -> None:
    score_runs = judging.score_runs

    def spoilt(engine: Engine, *rest: Any) -> Scored:
        scored = score_runs(engine, *rest)
        if engine.backend != "eager":
            scored.components[:] = [c + np.float32(off) for c in scored.components]
        return scored

    for module in (judging, int8):
        monkeypatch.setattr(module, "score_runs", spoilt)
    file = tmp_path / "report.html"
    assert _compile(run, tmp_path / "a.vad", "--report", file) == 3
    page = _Page(file.read_text())
    assert "Nothing was written" in page.text
    assert words in page.text
    assert "Calibration" not in page.text
    # The fastest is shown beside eager, where its faults are seen, if it gave numbers at all.
    assert [tag for tag, _ in page.elements].count("svg") == n_figures
    assert not (tmp_path / "a.vad").exists()


@pytest.mark.usefixtures("no_inductor")
def test_a_ladder_is_shown_by_the_window_each_batch_against_eagers_own(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def race(running: Sequence[Candidate], *_: object) -> None:
        for candidate in running:
            ms = (10.0 if candidate.backend.name == "eager" else 5.0) * candidate.batch**0.5
            candidate.timing = summarise([ms, ms, ms])

    monkeypatch.setattr(build_module, "race_candidates", race)
    file = tmp_path / "report.html"
    given = ("--batch", "1,4", "--ship", "onnxruntime", "--precision", "fp32")
    assert _compile(run, tmp_path / "a.vad", "--report", file, *given) == 0
    page = _Page(file.read_text())
    assert "onnxruntime fp32 5 [5, 5] 2.00 [2.00, 2.00]" in page.text
    assert "onnxruntime fp32 batch 4 2.5 [2.5, 2.5] 2.00 [2.00, 2.00]" in page.text
    assert "onnxruntime fp32 ships first: 5 ms a window, 2.00 times eager" in page.text


def test_an_unwritable_report_is_refused_before_the_work(
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("built")

    monkeypatch.setattr("vadfast.compile.build.export_onnx", never)
    assert _compile(run, tmp_path / "a.vad", "--report", tmp_path) == 2
    assert "--report: must be a file that can be written" in " ".join(
        capsys.readouterr().err.split()
    )


def test_evidence_is_small_and_of_the_windows_it_names(runs: list[Run]) -> None:
    rng = np.random.default_rng(0)
    heatmaps = [rng.random((len(r), 2, 3), np.float32) for r in runs]
    scored = Scored([rng.random((len(r), 1), np.float32) for r in runs], heatmaps)
    eager = SimpleNamespace(backend="eager", precision="fp32", batch=1)
    evidence = Evidence()
    evidence.begin(runs, scored, eager, CARD.components)  # type: ignore[arg-type]
    evidence.add(eager, summarise([1.0, 2.0, 3.0]), scored, range(len(runs)))  # type: ignore[arg-type]
    answer = evidence.answers["eager", "fp32", 1]
    n_abnormal = sum(int(r.labels.sum()) for r in runs if r.labels is not None)
    n_normal = sum(len(r) for r in runs if r.labels is not None) - n_abnormal
    assert evidence.auc_resolution == pytest.approx(1 / (n_abnormal * n_normal))
    assert Evidence().auc_resolution == 0
    assert len(evidence.pictures) == len(answer.heatmaps) == N_PICTURES == len(runs)
    for run_, picture, heat, every in zip(
        runs, evidence.pictures, answer.heatmaps, heatmaps, strict=True
    ):
        assert heat.max() == every.max(), "the brightest of its run"
        i = picture.frame - run_.first
        np.testing.assert_array_equal(heat, every[i])
        np.testing.assert_array_equal(picture.image, run_.window(i)[0, -1])
        assert picture.abnormal == (None if run_.labels is None else bool(run_.labels[i]))
        assert heat.base is None, "a copy: a view would keep all of them"


def test_the_race_is_drawn_with_its_numbers() -> None:
    timings = [("fast", summarise([1.0, 1.0, 1.0])), ("eager fp32", summarise([3.0, 4.0, 5.0]))]
    axes = draw_race([timings], {"eager fp32"}).axes[0]
    assert [bar.get_width() for bar in axes.patches] == [1.0, 4.0]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["fast", "eager fp32"]
    assert axes.patches[0].get_facecolor() != axes.patches[1].get_facecolor()
    interval = next(line for line in axes.lines if list(line.get_xdata()) == [3.0, 5.0])
    assert list(interval.get_ydata()) == [1, 1]


def test_each_batch_has_the_dashed_line_of_its_own_eager() -> None:
    one = [("fast", summarise([1.0])), ("eager fp32", summarise([4.0]))]
    eight = [("fast batch 8", summarise([0.5])), ("eager fp32 batch 8", summarise([2.0]))]
    axes = draw_race([one, eight], {"eager fp32", "eager fp32 batch 8"}).axes[0]
    dashed = [line for line in axes.lines if line.get_linestyle() != "-"]
    drawn = {tuple(line.get_xdata()): tuple(line.get_ydata()) for line in dashed}
    assert drawn == {(4.0, 4.0): (-0.5, 1.5), (2.0, 2.0): (1.5, 3.5)}


def _answer(*parts: npt.NDArray[np.float32]) -> Answer:
    return Answer(summarise([1.0]), [part[:, None] for part in parts], [], whole=True)


def test_errors_are_drawn_as_they_are_and_zeros_at_the_bottom() -> None:
    a = np.linspace(20, 30, 6, dtype=np.float32)
    b = a + np.array([0, 0, 0.001, 0, 0.02, 0], np.float32)
    figure = draw_agreement(
        _answer(a[:4], a[4:]),
        _answer(b[:4], b[4:]),
        [np.array([0, 1, 1, 0], np.uint8), None],
        component=0,
        label="psnr, dB",
        bound=0.01,
        name="other",
    )
    scores, errors = figure.axes
    drawn = np.concatenate([line.get_ydata() for line in errors.lines if line.get_marker() == "."])
    assert drawn[2] == pytest.approx(0.001, rel=0.01)
    assert drawn[4] == pytest.approx(0.02, rel=0.01)
    assert len(set(drawn[[0, 1, 3, 5]])) == 1
    assert 0 < drawn[0] < 0.001
    low, high = errors.get_ylim()
    assert low < drawn.min()
    assert high > 0.02
    shaded = {patch.get_x() + 0.5 for patch in scores.patches}
    assert shaded == {1, 2}


def test_the_threshold_stands_where_it_is() -> None:
    scores = np.random.default_rng(0).normal(size=500)
    axes = draw_calibration(scores, 2.5, 1.75).axes[0]
    assert {line.get_xdata()[0] for line in axes.lines} == {2.5, 1.75}
    assert {text.get_text() for text in axes.texts} == {"raised above 2.50", "cleared below 1.75"}
    assert sum(patch.get_height() for patch in axes.patches) == 500


def test_names_in_a_figure_are_text_and_two_figures_share_no_identifier() -> None:
    timings = [(EVIL, summarise([1.0, 2.0, 3.0]))]
    pages = [_Page(inline_svg(draw_race([timings], {EVIL}), name, '"x"')) for name in ("a", "b")]
    for page in pages:
        assert "script" not in {tag for tag, _ in page.elements}
        assert EVIL in page.text
        assert page.elements[0][1]["aria-label"] == '"x"'
    ids = [{a["id"] for _, a in page.elements if "id" in a} for page in pages]
    assert not ids[0] & ids[1]
    assert all(ids)
    again = inline_svg(draw_race([timings], {EVIL}), "a", '"x"')
    assert again == inline_svg(draw_race([timings], {EVIL}), "a", '"x"'), "equal runs, equal pages"
    assert "var(--blue)" in inline_svg(
        draw_race([[("x", timings[0][1]), *timings]], {EVIL}), "a", ""
    )
    assert "#0072b2" not in again


@pytest.mark.usefixtures("no_inductor")
def test_the_spread_on_the_page_is_that_of_the_rounds(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = [10.0, 11.0, 12.0, 13.0, 40.0]

    def race(running: Sequence[Candidate], *_: object) -> None:
        for candidate in running:
            many = candidate.backend.name == "eager"
            candidate.timing = summarise([float(ms) for ms in range(100, 201)] if many else few)

    monkeypatch.setattr(build_module, "race_candidates", race)
    file = tmp_path / "report.html"
    given = ("--batch", "1,4", "--ship", "onnxruntime", "--precision", "fp32", "--threads", 2)
    given += ("--json", tmp_path / "c.json")
    assert _compile(run, tmp_path / "a.vad", "--report", file, *given) == 0
    page = _Page(file.read_text())
    p90 = np.quantile(few, 0.9)
    assert f"12 / {p90:.3g} / max 40 2 " in page.text, "quantiles, then threads"
    assert f"3 / {p90 / 4:.3g} / max 10 2 " in page.text, "of a window"
    assert "150 / 190 / 199 2 the reference" in page.text
    rows = json.loads((tmp_path / "c.json").read_text())["race"]
    row = next(r for r in rows if (r["backend"], r["batch"]) == ("onnxruntime", 4))
    assert row["p90_ms"] == pytest.approx(p90)
    assert (row["p99_ms"], row["max_ms"], row["n_rounds"], row["threads"]) == (None, 40, 5, 2)


def test_the_gate_has_a_column_of_alerts() -> None:
    bounds = {"correlation": 0.999, "auc": 0.001, "heatmap": 0.02, "alerts": 0.05}
    candidate = {
        "backend": "mnn", "precision": "bf16", "batch": 1, "bounds": {"psnr": 0.05},
        "score_error": {"psnr": 0.01}, "correlation": {"psnr": 1.0}, "delta_auc": {},
        "heatmap_error": 0.001, "alerts": [41, 2], "passed": True, "faults": [],
    }  # fmt: skip
    lost = candidate | {"heatmap_error": None, "alerts": [0, 0], "score_error": {}}
    table = gate_table({"bounds": {"bf16": bounds}, "candidates": [candidate, lost]}, 0.0)
    assert table.columns[-1] == "alerts: without a partner"
    assert [row["cells"][-1] for row in table.rows] == [("2 of 41", "≤ 3"), ("-", "≤ 0")]
    assert all(len(row["cells"]) == len(table.columns) for row in table.rows)


def test_the_short_stroke_of_the_rounds_is_their_nine_tenths() -> None:
    rounds = [1.0, 2.0, 3.0, 4.0, 9.0]
    axes = draw_rounds([("a", summarise(rounds))], set()).axes[0]
    strokes = {tuple(line.get_xdata()) for line in axes.lines if len(line.get_xdata()) == 2}
    p90 = np.quantile(rounds, 0.9)
    assert {(3.0, 3.0), (p90, p90)} <= strokes
