"""The whole command on a tiny model: what ships, what loses and why, and that every failure leaves nothing behind."""

import errno
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.compile.tiny import SPEC, FilmSource, film
from vadfast.cli import exit_code_of
from vadfast.compile import build as build_module
from vadfast.compile import build_bundle, int8, judging
from vadfast.compile.__main__ import command
from vadfast.compile.backends import refusal
from vadfast.compile.backends.onnxruntime import ONNXRuntimeBackend
from vadfast.compile.candidates import Candidate
from vadfast.compile.plan import Options
from vadfast.compile.report import Row
from vadfast.errors import GateError, UsageError
from vadfast.race import Timing
from vadfast.runtime.bundle import open_bundle
from vadfast.runtime.engine import cpu_features, load_artefact, n_cpus, open_engine
from vadfast.runtime.manifest import RaceLoad, Threads
from vadfast.runtime.score import run_chain
from vadfast.runtime.session import raw_scores

SHIP = tuple(name for name in Options().ship if name != "tensorrt")  # which needs a GPU
QUICK = Options(rounds=3, gate_windows=48)


@pytest.mark.usefixtures("no_inductor")
def test_the_bundle_opens_runs_and_holds_what_the_report_says(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.vad"
    report = build_bundle(run, out, QUICK)
    rows = {(row.backend, row.precision): row for row in report.race}
    assert set(rows) == {
        ("eager", "fp32"),
        ("inductor", "fp32"),
        ("mnn", "fp32"),
        ("onnxruntime", "fp32"),
        ("openvino", "fp32"),
        ("openvino", "bf16"),
        ("openvino", "int8"),
        ("openvino", "int8-bf16"),
        ("onnxruntime", "int8"),
        ("tensorrt", "fp32"),
        ("tensorrt", "fp16"),
        ("tensorrt", "int8"),
        *(
            (name, p)
            for name in ("tensorrt-plugin", "cuda", "cuda-inductor")
            for p in ("fp32", "fp16")
        ),
    }
    assert not rows["eager", "fp32"].shipped
    if "bf16" not in cpu_features():
        assert (
            rows["openvino", "bf16"].reason == "cannot run here: this CPU has no bf16 instructions"
        )
    assert not list((tmp_path / "scratch").glob("vadfast-compile-*"))

    bundle = open_bundle(out)
    medians = [artefact.median_ms for artefact in bundle.manifest.artefacts]
    assert medians == sorted(medians)
    assert {a.backend for a in bundle.manifest.artefacts} == set(SHIP)
    for backend in SHIP:
        open_engine(bundle, backend=backend).close()  # runs the golden self-test
    assert bundle.manifest.gate["labels"] == "labels from made"
    assert report.gate["n_labelled"] == 24
    assert all(c["passed"] for c in report.gate["candidates"])


@pytest.mark.usefixtures("no_inductor")
def test_the_threshold_comes_from_the_held_out_frames_and_the_winner(
    run: Path, tmp_path: Path
) -> None:
    build_bundle(run, tmp_path / "a.vad", QUICK)
    bundle = open_bundle(tmp_path / "a.vad")
    manifest = bundle.manifest
    engine = open_engine(bundle)
    scores = []
    for i in range(2):
        tail = FilmSource("tail", film(200, seed=i)[120:])
        parts = np.stack([raw.components for raw in raw_scores(engine, SPEC, tail)])
        scores.append(
            run_chain(manifest.causal_chain, manifest.components, parts, manifest.calibration)
        )
    assert manifest.calibration.n_frames == 2 * (80 - 2)
    assert manifest.alert.threshold == pytest.approx(np.quantile(np.concatenate(scores), 0.995))


@pytest.mark.usefixtures("no_inductor")
@pytest.mark.parametrize(
    "order", [("openvino", "onnxruntime", "mnn"), ("mnn", "openvino", "onnxruntime")]
)
def test_the_fastest_is_first_whichever_it_is(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: tuple[str, ...]
) -> None:
    ms = {"eager": 0.1} | {backend: 1.0 + i for i, backend in enumerate(order)}

    def race(running: Sequence[Candidate], *_: object) -> None:
        for candidate in running:
            median = ms[candidate.backend.name]
            candidate.timing = Timing(median, median, median, ())

    monkeypatch.setattr(build_module, "race_candidates", race)
    report = build_bundle(run, tmp_path / "a.vad", replace(QUICK, precision="fp32"))
    # Eager is faster still, but was not asked for and needs torch.
    shipped = open_bundle(tmp_path / "a.vad").manifest.artefacts
    assert tuple(a.backend for a in shipped) == order
    row = next(row for row in report.race if row.backend == order[0] and row.shipped)
    assert row.reason == "ships first, the fastest that passed"


@pytest.mark.usefixtures("no_inductor")
def test_a_race_that_says_little_says_so(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def race(running: Sequence[Candidate], *_: object) -> None:
        for i, candidate in enumerate(running):
            candidate.timing = Timing(1.0 + i, 0.5, 10.0, ())

    monkeypatch.setattr(build_module, "race_candidates", race)
    monkeypatch.setattr(build_module, "load_average", lambda: 1e3)
    report = build_bundle(run, tmp_path / "a.vad", replace(QUICK, precision="fp32"))
    (first,) = [row for row in report.race if "ships first" in row.reason]
    assert "; a tie with onnxruntime fp32: their 95 % intervals overlap" in first.reason
    assert "3 rounds at a load average of 1000.0" in capsys.readouterr().err


@pytest.mark.usefixtures("no_inductor")
def test_one_that_fails_the_gate_does_not_ship(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _spoil(monkeypatch, lambda backend: backend == "onnxruntime")
    report = build_bundle(run, tmp_path / "a.vad", QUICK)
    shipped = {a.backend for a in open_bundle(tmp_path / "a.vad").manifest.artefacts}
    assert shipped == {"openvino", "mnn"}
    row = next(row for row in report.race if row.backend == "onnxruntime")
    assert "fails the gate: psnr is off by 1 dB, allowed 0.01" in row.reason


@pytest.mark.usefixtures("no_inductor")
def test_all_failing_is_exit_3_and_the_old_bundle_stays(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.vad"
    build_bundle(run, out, QUICK)
    before = (out / "manifest.json").read_bytes()
    _spoil(monkeypatch, lambda backend: backend != "eager")
    with pytest.raises(GateError, match="nothing was written"):
        build_bundle(run, out, QUICK)
    arguments = [str(run), "--out", str(out), "--rounds", "3", "--gate-windows", "24"]
    assert exit_code_of(command, name="compile", arguments=arguments) == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    assert exit_code_of(command, name="compile", arguments=[*arguments, "--json", "-"]) == 3
    document = json.loads(capsys.readouterr().out)
    assert document["bundle"] is None
    assert not any(row["shipped"] for row in document["race"])
    assert any("fails the gate" in row["reason"] for row in document["race"])
    assert (out / "manifest.json").read_bytes() == before
    assert {p.name for p in tmp_path.iterdir()} == {"run", "a.vad", "scratch"}
    assert not list((tmp_path / "scratch").glob("vadfast-compile-*"))


@pytest.mark.usefixtures("no_inductor")
def test_a_full_disk_leaves_nothing(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    arguments = [
        str(run),
        "--out",
        str(tmp_path / "a.vad"),
        "--rounds",
        "3",
        "--gate-windows",
        "24",
    ]
    assert exit_code_of(command, name="compile", arguments=arguments) == 1
    assert "the disk is full" in capsys.readouterr().err
    assert {p.name for p in tmp_path.iterdir()} == {"run", "scratch"}


def test_torch_backends_are_peers_until_asked_for(run: Path, tmp_path: Path) -> None:
    report = build_bundle(
        run, tmp_path / "a.vad", Options(rounds=3, gate_windows=24, ship=("inductor", "eager"))
    )
    assert {row.backend for row in report.race if row.shipped} == {"inductor", "eager"}
    peers = [row for row in report.race if row.backend in SHIP and row.precision == "fp32"]
    assert all(row.median_ms is not None and not row.shipped for row in peers)
    bundle = open_bundle(tmp_path / "a.vad")
    assert {a.backend for a in bundle.manifest.artefacts} == {"inductor", "eager"}
    assert str(tmp_path) not in (bundle.path / "artefacts/eager/run.toml").read_text()
    assert {"artefacts/inductor/model.pt2", "artefacts/eager/run.toml"} <= set(
        bundle.manifest.files
    )
    for backend in ("inductor", "eager"):
        open_engine(bundle, backend=backend).close()


@pytest.mark.usefixtures("no_inductor")
def test_json_has_the_agreed_keys_and_stdout_is_clean(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        str(run),
        "--out",
        str(tmp_path / "a.vad"),
        "--rounds",
        "3",
        "--gate-windows",
        "24",
        "--json",
        "-",
    ]
    assert exit_code_of(command, name="compile", arguments=arguments) == 0
    document = json.loads(capfd.readouterr().out)
    assert {"bundle", "eager_ms", "race", "gate", "load"} <= set(document)
    keys = {"backend", "precision", "batch", "median_ms", "lo_ms", "hi_ms", "max_score_error"}
    keys |= {"delta_auc", "shipped", "reason"}
    for row in document["race"]:
        assert keys <= set(row)
    assert document["bundle"] == str(tmp_path / "a.vad")
    spans = document["gate"]["labelled_spans"]
    assert spans["n"] == 1, "around the one change that so few windows reach"
    assert spans == open_bundle(tmp_path / "a.vad").manifest.gate["labelled_spans"]


@pytest.mark.usefixtures("no_inductor")
def test_the_table_names_losers_and_bounds(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    arguments = [
        str(run),
        "--out",
        str(tmp_path / "a.vad"),
        "--rounds",
        "3",
        "--gate-windows",
        "24",
    ]
    assert exit_code_of(command, name="compile", arguments=arguments) == 0
    out = capsys.readouterr().out
    for words in (
        "the fastest that passed",
        "no C++ compiler",
        "load average",
        "fp32: score error 0.01 dB",
        "alert:",
        "labels from made",
        "of 1 labelled spans in the gate's windows would raise one",
    ):
        assert words in out
    table = out[: out.index("gate:")]
    # Nothing is cut or folded in a plain terminal.
    assert max(len(line) for line in table.splitlines()) <= 80
    assert "…" not in table


def test_a_dry_run_writes_nothing(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        exit_code_of(
            command,
            name="compile",
            arguments=[str(run), "--out", str(tmp_path / "a.vad"), "--dry-run"],
        )
        == 0
    )
    captured = capsys.readouterr()
    assert captured.err.splitlines()[0] == "loading PyTorch and the engines ..."
    out = captured.out
    assert "would write the bundle" in out
    assert "candidate openvino fp32: may ship" in out
    assert "calibration: 156 frames" in out
    assert {p.name for p in tmp_path.iterdir()} == {"run", "scratch"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            Options(ship=("tensorflow",)),
            "--ship: must be among eager, inductor, mnn, onnxruntime, openvino, tensorrt, tensorrt-plugin, cuda, cuda-inductor, got 'tensorflow'",
        ),
        (Options(ship=()), "--ship: .* got 'nothing'"),
        (
            Options(precision="fp8"),
            "--precision: must be among auto, fp32, bf16, fp16, int8, int8-bf16, got 'fp8'",
        ),
        (Options(target="tpu"), "--target: must be among auto, cpu, tensorrt, cuda, got 'tpu'"),
    ],
)
def test_unknown_words_are_usage_errors(
    run: Path, tmp_path: Path, options: Options, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        build_bundle(run, tmp_path / "a.vad", options)


def test_too_little_normal_video_is_a_usage_error(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vadfast.data.holdout.held_out", lambda *_: [])
    with pytest.raises(UsageError, match="give normal video of the scene by --calibrate DIR"):
        build_bundle(run, tmp_path / "a.vad", QUICK)


def test_too_short_normal_video_is_refused_before_anything_is_built(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("built")

    monkeypatch.setattr(build_module, "export_onnx", never)
    monkeypatch.setattr(
        "vadfast.data.holdout.held_out", lambda own, _: [(video, 190) for video in own.train]
    )
    with pytest.raises(UsageError, match="at least 50 scored frames of normal video, got 16"):
        build_bundle(run, tmp_path / "a.vad", QUICK)


def _spoil(monkeypatch: pytest.MonkeyPatch, which: Callable[[str], bool]) -> None:
    """Makes the scores of some backends wrong by 1 dB, as a bad engine would."""
    score_runs = judging.score_runs

    def spoilt(engine: SimpleNamespace, *rest: object) -> object:
        scored = score_runs(engine, *rest)  # type: ignore[arg-type]
        if which(engine.backend):
            scored.components[:] = [c + np.float32(1) for c in scored.components]
        return scored

    for module in (judging, int8):
        monkeypatch.setattr(module, "score_runs", spoilt)


@pytest.mark.usefixtures("no_inductor")
def test_a_candidate_that_fails_when_it_runs_is_a_row_with_its_reason(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("bad allocation")

    monkeypatch.setattr("vadfast.runtime.engines.onnxruntime.ONNXRuntimeEngine.__call__", fail)
    report = build_bundle(run, tmp_path / "a.vad", QUICK)
    rows = {row.precision: row for row in report.race if row.backend == "onnxruntime"}
    assert rows["fp32"].reason == "failed when it ran: bad allocation"
    assert rows["fp32"].median_ms is None
    shipped = open_bundle(tmp_path / "a.vad").manifest.artefacts
    assert "onnxruntime" not in {a.backend for a in shipped}
    assert "mnn" in {a.backend for a in shipped}


def test_a_missing_package_is_a_reason_not_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert refusal(ONNXRuntimeBackend(), "fp32") == "onnxruntime is not installed"


def _inductor_row(run: Path, out: Path) -> Row:
    report = build_bundle(run, out, Options(rounds=3, gate_windows=24))
    assert {r.backend for r in report.race if r.shipped} == set(SHIP)
    return next(row for row in report.race if row.backend == "inductor")


@pytest.mark.parametrize("error", [RuntimeError("ninja: no such file\nmore"), AssertionError()])
def test_a_peer_that_cannot_be_begun_is_a_row_with_its_reason(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("vadfast.compile.backends.inductor.Packaging", fail)
    row = _inductor_row(run, tmp_path / "a.vad")
    assert row.reason in (
        "cannot be built here: ninja: no such file",
        "cannot be built here: AssertionError",
    )
    assert row.median_ms is None


def test_a_peer_whose_compiler_fails_is_a_row_with_its_reason(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "false")  # which does nothing, without success
    row = _inductor_row(run, tmp_path / "a.vad")
    assert row.reason.startswith("cannot be built here: ")
    assert row.median_ms is None


@pytest.mark.usefixtures("no_inductor")
def test_the_same_input_at_a_fixed_time_is_the_same_bundle(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was measured differs: the times of the race, and so the order of what ships."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    options = replace(QUICK, precision="fp32", ship=("onnxruntime",))
    a, b = tmp_path / "a.vad", tmp_path / "b.vad"
    for out in (a, b):
        build_bundle(run, out, options)
    seals = {"manifest.json", "manifest.sha256", "SIGNATURE"}
    names = {p.relative_to(a).as_posix() for p in a.rglob("*") if p.is_file()}
    assert names == {p.relative_to(b).as_posix() for p in b.rglob("*") if p.is_file()}
    for name in names - seals:
        assert (a / name).read_bytes() == (b / name).read_bytes(), name
    told = [json.loads((bundle / "manifest.json").read_text(encoding="utf-8")) for bundle in (a, b)]
    for manifest in told:
        for row in (*manifest["race"], *manifest["artefacts"]):
            for key in ("median_ms", "lo_ms", "hi_ms", "p90_ms", "max_ms"):
                row.pop(key, None)
        assert set(manifest.pop("race_load")) == {"before", "after"}
    assert told[0] == told[1]


@pytest.mark.usefixtures("no_inductor")
def test_the_race_is_kept_with_its_load_and_what_each_was_told(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = iter((0.5, 1.5))
    monkeypatch.setattr(build_module, "load_average", lambda: next(loads))
    told = {"openvino": Threads(n=1, pinned=False, cpus=n_cpus())}
    monkeypatch.setattr(build_module, "_tuned", lambda *_: told)
    report = build_bundle(run, tmp_path / "a.vad", replace(QUICK, precision="fp32"))
    manifest = open_bundle(tmp_path / "a.vad").manifest
    assert manifest.race_load == RaceLoad(before=0.5, after=1.5)
    rows = {row["backend"]: row for row in manifest.race if row["median_ms"] is not None}
    assert (rows["openvino"]["threads"], rows["openvino"]["pinned"]) == (1, False)
    assert (rows["mnn"]["threads"], rows["mnn"]["pinned"]) == (None, None)
    assert rows["mnn"]["n_rounds"] == 3
    assert rows["mnn"]["median_ms"] <= rows["mnn"]["p90_ms"] <= rows["mnn"]["max_ms"]
    in_json = {r["backend"]: r for r in report.to_json()["race"] if r["median_ms"] is not None}
    for name, row in rows.items():
        assert {key: in_json[name][key] for key in row} == row


@pytest.mark.usefixtures("no_inductor")
def test_threads_that_were_asked_for_raced_and_are_what_the_bundle_runs_with(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = replace(QUICK, precision="fp32", ship=("onnxruntime",), threads=1)
    report = build_bundle(run, tmp_path / "a.vad", options)
    bundle = open_bundle(tmp_path / "a.vad")
    (artefact,) = bundle.manifest.artefacts
    assert artefact.threads == Threads(n=1, pinned=None, cpus=n_cpus())
    raced = [row for row in report.race if row.median_ms is not None]
    assert {row.threads for row in raced} == {1}, "all of them"

    given = []

    def load(*_: object, threads: int | None, **__: object) -> None:
        given.append(threads)

    monkeypatch.setattr("vadfast.runtime.engines.onnxruntime.ONNXRuntimeEngine.load", load)
    load_artefact(bundle, artefact)
    load_artefact(bundle, artefact, 2)
    monkeypatch.setattr("vadfast.runtime.engine.n_cpus", lambda: n_cpus() + 1)
    load_artefact(bundle, artefact)
    assert given == [1, 2, None], "elsewhere the library knows better"


@pytest.mark.usefixtures("no_inductor")
def test_a_winner_slower_than_eager_is_said_in_every_report(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def race(running: Sequence[Candidate], *_: object) -> None:
        for candidate in running:
            median = 3.0 if candidate.backend.name == "eager" else 4.5
            candidate.timing = Timing(median, median, median, (median,) * 3)

    monkeypatch.setattr(build_module, "race_candidates", race)
    page, document = tmp_path / "r.html", tmp_path / "r.json"
    given = [run, "--out", tmp_path / "a.vad", "--precision", "fp32", "--ship", "openvino"]
    given += ["--gate-windows", 24, "--report", page, "--json", document]
    assert exit_code_of(command, name="compile", arguments=[str(a) for a in given]) == 0
    words = (
        "slower than eager float32: openvino fp32, batch 1, takes 4.5 ms a window and eager 3; "
        "--ship eager ships PyTorch itself"
    )
    assert f"note: {words}" in capsys.readouterr().out
    assert json.loads(document.read_text())["notes"] == [words]
    assert f"Note: {words}." in page.read_text()
