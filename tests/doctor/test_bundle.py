"""The doctor examines bundles on this machine: without torch, with the sentences of ``score``, and never says that a bad one is good."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.doctor.made_bags import make_bag_bundle
from tests.tiny_bundle import artefact, manifest_values, seal
from vadfast.cli import exit_code_of
from vadfast.doctor import films
from vadfast.doctor.__main__ import command
from vadfast.doctor.capacity import RATES
from vadfast.doctor.films import made_films
from vadfast.errors import BackendError, UsageError, VadfastError
from vadfast.race import Call, Clock, Timing, summarise
from vadfast.score.__main__ import command as score

ARTEFACT_KEYS = {
    "backend", "precision", "batch", "can_run", "reason", "chosen", "self_test", "median_ms", "lo_ms", "hi_ms", "cpu_ms",
    "compiled_ms", "resident_mb",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _one_small_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(films, "CAMERAS", ((96, 64, 0.1),))


def _doctor(*arguments: object) -> int:
    asked = [str(a) for a in (*arguments, "--rounds", 3)]
    return exit_code_of(command, name="doctor", arguments=asked)


def _document(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return json.loads(capsys.readouterr().out)


def _said(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().err.split())


def test_the_document_has_the_agreed_shape(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _doctor(bundle, "--json", "-") == 0
    document = _document(capsys)
    assert set(document) == {"machine", "nvidia", "operators", "bundle"}
    assert set(document["nvidia"]) == {"driver", "cuda", "jetson", "tensorrt", "cupy", "refusal"}
    assert document["operators"] == {}
    assert {"cpu", "n_cpus", "features", "gpu", "torch", "python", "native"} == set(
        document["machine"]
    )
    found = document["bundle"]
    assert found["fault"] is None
    assert found["takes"] == "frames"
    first, second = found["artefacts"]
    assert set(first) == set(second) == ARTEFACT_KEYS
    assert (first["chosen"], second["chosen"]) == (True, False)
    for a in (first, second):
        assert a["self_test"]["passed"]
        assert max(a["self_test"]["errors"].values()) <= 1e-5
        assert 0 < a["lo_ms"] <= a["median_ms"] <= a["hi_ms"]
    assert first["resident_mb"] > 20
    assert second["resident_mb"] is None
    capacity = found["capacity"]
    (film,) = capacity["films"]
    assert (film["width"], film["height"], film["fps"], film["made"]) == (96, 64, 25, True)
    assert [r["rate"] for r in film["rates"]] == list(RATES)
    assert film["decode_cpu_ms"] > 0
    assert film["camera_mb"] > 0
    assert capacity["engine_mb"] == first["resident_mb"]
    assert capacity["available_mb"] == found["available_mb"]
    assert capacity["ladder"] == []
    counts = [r["cameras"] for r in film["rates"]]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > 0
    assert "cameras fit and" in capacity["advice"]


def test_people_read_the_same(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _doctor(bundle) == 0
    out = " ".join(capsys.readouterr().out.split())
    for words in ("sealed and unchanged", "openvino fp32 batch 1 would run passed", "can run passed",
                  "96x64 (made, H.264, 25 frames/s sent)", "Trained at 10 frames/s", "Next: for cameras of 96x64, at 25 frames/s"):  # fmt: skip
        assert words in out


def test_no_torch_in_the_process(bundle: Path) -> None:
    code = (
        "import sys\nfrom vadfast.cli import exit_code_of\nfrom vadfast.doctor import films\n"
        "from vadfast.doctor.__main__ import command\nfilms.CAMERAS = ((96, 64, 0.1),)\n"
        "code = exit_code_of(command, name='doctor', arguments=[*sys.argv[1:], '--rounds', '3'])\n"
        "print(code, [m for m in ('torch', 'triton', 'sklearn', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(bundle)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "0 []"


@pytest.mark.parametrize("name", ["model.onnx", "manifest.json", "SIGNATURE", "golden/frames.npy"])
def test_a_damaged_bundle_is_refused_in_the_words_of_score(
    bundle: Path, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(bytes(content))
    assert _doctor(bundle, "--json", "-") == 1
    captured = capsys.readouterr()
    found = json.loads(captured.out)["bundle"]
    assert f"error: {found['fault']}" == captured.err.rstrip()
    assert found["no_capacity"] == found["fault"]
    assert found["method"] is found["capacity"] is None
    assert found["artefacts"] == []
    film = tmp_path / "film"
    film.mkdir()
    (film / "0.png").write_bytes(b"")
    assert exit_code_of(score, name="score", arguments=[str(bundle), str(film)]) == 1
    assert captured.err == capsys.readouterr().err
    assert str(bundle) in captured.err


def test_an_unsigned_bundle_needs_leave(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (bundle / "SIGNATURE").unlink()
    assert _doctor(bundle) == 1
    assert "must be signed, SIGNATURE is missing" in _said(capsys)
    assert _doctor(bundle, "--allow-unsigned", "--json", "-") == 0
    assert _document(capsys)["bundle"]["fault"] is None


def test_what_cannot_run_has_its_reason_and_the_next_is_chosen(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seal(
        bundle,
        manifest_values(
            artefacts=[
                artefact("openvino", precision="bf16", needs=["bf16", "no-such-set"]),
                artefact("abacus"),
                artefact("onnxruntime"),
            ]
        ),
    )
    assert _doctor(bundle, "--json", "-") == 0
    found = _document(capsys)["bundle"]
    refused, unknown, runs = found["artefacts"]
    assert not refused["can_run"]
    assert "no-such-set, which this CPU" in refused["reason"]
    assert refused["self_test"] is refused["median_ms"] is None
    assert "is not known to this version" in unknown["reason"]
    assert runs["chosen"]


def test_nothing_that_runs_is_exit_1(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seal(bundle, manifest_values(artefacts=[artefact("openvino", needs=["no-such-set"])]))
    assert _doctor(bundle, "--json", "-") == 1
    captured = capsys.readouterr()
    found = json.loads(captured.out)["bundle"]
    assert found["capacity"] is None
    assert (
        "none of its engines can run on this machine (openvino fp32: needs no-such-set"
        in found["fault"]
    )
    assert "error: tiny.vad: none of its engines can run" in " ".join(captured.err.split())
    assert _doctor(bundle) == 1
    assert "cannot run" in capsys.readouterr().out


def test_wrong_scores_are_exit_1(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    golden = bundle / "golden/components.npy"
    np.save(golden, np.load(golden) + np.float32(0.1))
    seal(bundle, manifest_values())
    assert _doctor(bundle, "--json", "-") == 1
    found = _document(capsys)["bundle"]
    assert (
        "motion of the golden windows must be within 1e-05 1 of the sealed values" in found["fault"]
    )
    assert [a["self_test"]["passed"] for a in found["artefacts"]] == [False, False]
    assert found["capacity"] is None


def test_a_peer_that_scores_wrongly_is_said_and_does_not_fail_the_bundle(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    never = {"motion": 1e-30, "brightness": 1e-30}
    seal(
        bundle,
        manifest_values(artefacts=[artefact("openvino"), artefact("onnxruntime", tolerance=never)]),
    )
    assert _doctor(bundle, "--json", "-") == 0
    first, second = _document(capsys)["bundle"]["artefacts"]
    assert first["self_test"]["passed"]
    assert not second["self_test"]["passed"]
    assert second["median_ms"] is None


def test_each_batch_of_a_ladder_is_a_row_timed_by_the_window(
    bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def eight_ms(calls: Sequence[Call], *, rounds: int, clock: Clock, **_: object) -> list[Timing]:
        for i in range(2):
            assert clock(calls[0], i, 1) > 0
        return [summarise([8.0] * rounds)]

    monkeypatch.setattr("vadfast.doctor.bundle.alternate", eight_ms)
    ladder = [artefact("onnxruntime", batch=batch, median_ms=8.0) for batch in (1, 2, 8)]
    seal(bundle, manifest_values(artefacts=ladder))
    assert _doctor(bundle, "--json", "-") == 0
    found = _document(capsys)["bundle"]["artefacts"]
    assert [a["batch"] for a in found] == [1, 2, 8]
    assert [a["median_ms"] for a in found] == [8, 4, 1]
    assert [a["chosen"] for a in found] == [True, False, False]
    assert all(a["self_test"]["passed"] for a in found)


def test_each_larger_batch_has_its_own_cameras(
    bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def half_a_second(calls: Sequence[Call], *, rounds: int, clock: Clock, **_: object) -> Any:
        for i in range(2):
            clock(calls[0], i, 1)
        return [summarise([500.0] * rounds)]

    monkeypatch.setattr("vadfast.doctor.bundle.alternate", half_a_second)
    ladder = [artefact("onnxruntime", batch=b) for b in (1, 2, 8)]
    ladder.insert(1, artefact("openvino", batch=2, needs=["no-such-set"]))
    ladder.append(artefact("openvino", batch=2))  # behind the one that is opened
    seal(bundle, manifest_values(artefacts=ladder))
    assert _doctor(bundle, "--json", "-") == 0
    capacity = _document(capsys)["bundle"]["capacity"]

    def at_one(films: list[dict[str, Any]]) -> tuple[int, str]:
        assert films[0]["rates"][0]["rate"] == 1
        return films[0]["rates"][0]["cameras"], films[0]["rates"][0]["bottleneck"]

    # 0.7 s of the engine a second, at 500, 250 and 62.5 ms a window.
    assert at_one(capacity["films"]) == (1, "engine")
    assert [(s["backend"], s["batch"]) for s in capacity["ladder"]] == [("onnxruntime", 2), ("onnxruntime", 8)]  # fmt: skip
    assert [at_one(s["films"]) for s in capacity["ladder"]] == [(2, "engine"), (11, "engine")]
    assert "batch" not in capacity["advice"], "no command opens another"
    assert _doctor(bundle) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "onnxruntime fp32 batch 8 (vadfast.runtime.engine.open_engine(bundle, batch=8); commands take the smallest): 96x64 11 engine, " in out  # fmt: skip


def test_too_little_memory_keeps_cameras_out(
    bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vadfast.doctor.bundle.resident_mb", lambda: 300.0)
    monkeypatch.setattr("vadfast.doctor.films.camera_mb", lambda *_: 50.0)
    monkeypatch.setattr("vadfast.doctor.verdict.available_mb", lambda: 1000.0)
    assert _doctor(bundle, "--utilisation", 0.5, "--json", "-") == 0
    capacity = _document(capsys)["bundle"]["capacity"]
    slowest = capacity["films"][0]["rates"][0]
    assert (slowest["cameras"], slowest["bottleneck"]) == (4, "memory")
    assert _doctor(bundle, "--utilisation", 0.5) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "1 frames/s 4 memory" in out
    assert "50 MB a camera beside 300 MB of the engine" in out


@pytest.mark.parametrize(
    ("error", "code"),
    [(UsageError("maps: none for it"), 0), (BackendError("maps: cannot run here"), 1)],
)
def test_teachers_that_cannot_be_measured_are_said(
    bundle: Path,
    error: VadfastError,
    code: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("vadfast.doctor.verdict.film_cost", fail)
    assert _doctor(bundle, "--json", "-") == code
    found = _document(capsys)["bundle"]
    assert found["capacity"] is None
    assert found["no_capacity"] == str(error)
    assert found["fault"] == (str(error) if code else None)
    assert found["artefacts"][0]["self_test"]["passed"]


def test_a_bundle_of_bags_is_tested_and_has_no_cameras(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bags = make_bag_bundle(tmp_path / "sta.vad")
    assert _doctor(bags, "--json", "-") == 0
    found = _document(capsys)["bundle"]
    assert found["takes"] == "bags"
    assert found["capacity"] is None
    (row,) = found["artefacts"]
    assert row["self_test"]["errors"]["score"] <= 1e-4
    assert row["median_ms"] > 0
    assert _doctor(bags) == 0
    out = capsys.readouterr().out
    assert "scores bags" in out
    assert "cameras: bags of features come once a film: there are no cameras to count" in out
    wrong = make_bag_bundle(tmp_path / "wrong.vad", off=0.01)
    assert _doctor(wrong, "--json", "-") == 1
    found = _document(capsys)["bundle"]
    assert "must be within 0.0001 of the sealed ones, are off by 0.01" in found["fault"]


def test_a_film_of_the_users_camera_is_measured_instead(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with made_films() as made:
        film = Path(shutil.copy(made[0], tmp_path / "[b]gate.mp4"))
    assert (
        _doctor(bundle, "--video", film, "--utilisation", "1", "--json", tmp_path / "d.json") == 0
    )
    capacity = json.loads((tmp_path / "d.json").read_text())["bundle"]["capacity"]
    assert capacity["utilisation"] == 1
    (found,) = capacity["films"]
    assert (found["name"], found["made"], found["width"]) == ("[b]gate.mp4", False, 96)
    assert "[b]gate.mp4 (your film, 96x64, 25 frames/s sent)" in capsys.readouterr().out


def test_a_film_is_looked_at_before_engines_are_timed(
    bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("timed")

    monkeypatch.setattr("vadfast.doctor.verdict.examine", never)
    film = tmp_path / "film.mp4"
    assert _doctor(bundle, "--video", film) == 2
    assert "--video: must be a film of your camera, got nothing at" in _said(capsys)
    film.write_bytes(b"no film")
    assert _doctor(bundle, "--video", film) == 1
    assert "must be a video" in _said(capsys)


def test_a_film_without_a_frame_rate_is_said(
    bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with made_films() as made:
        film = Path(shutil.copyfile(made[0], tmp_path / "film.mp4"))
    monkeypatch.setattr("vadfast.runtime.source.VideoSource.fps", None)
    assert _doctor(bundle, "--video", film) == 0
    assert (
        "(your film, 96x64, it has no frame rate, so taken to be 25 frames/s sent)"
        in capsys.readouterr().out
    )
    assert _doctor(bundle, "--video", film, "--json", "-") == 0
    (found,) = _document(capsys)["bundle"]["capacity"]["films"]
    assert (found["fps"], found["fps_assumed"]) == (25, True)


def test_it_speaks_before_it_works(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _doctor(bundle) == 0
    first, *_ = capsys.readouterr().err.splitlines()
    assert first == f"examining {bundle}: seals, engines, decoding ..."


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--video", "film.mp4"), "--video: needs a bundle to examine, got none"),
        (("--allow-unsigned",), "--allow-unsigned: needs a bundle"),
        (("BUNDLE", "--operator", "preprocess"), "--operator: is about operators, and"),
        (("BUNDLE", "--device", "cpu"), "--device: is about operators, and"),
    ],
)
def test_what_would_not_be_read_is_refused(
    bundle: Path, arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(bundle) if a == "BUNDLE" else a for a in arguments]
    assert exit_code_of(command, name="doctor", arguments=given) == 2
    assert words in _said(capsys)


def test_no_bundle_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _doctor(tmp_path / "no.vad") == 2
    assert "must be a bundle written by vadfast.compile" in _said(capsys)
