"""``python -m vadfast.score``: from files to lines, pictures and exit codes, without torch."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from tests.tiny_bundle import H, T, W, make_bundle, manifest_values, reference, seal
from vadfast.cli import exit_code_of
from vadfast.runtime.bundle import open_bundle
from vadfast.runtime.score import run_chain
from vadfast.score.__main__ import command

# None in sys.modules makes every import of the name fail, wherever it is written.
WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
from vadfast.cli import run_command
from vadfast.score.__main__ import command
run_command(command, name="score", arguments=sys.argv[1:])
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "tiny.vad")


def _frames(n: int, seed: int = 0) -> np.ndarray:
    """A dull scene in which something happens in the middle."""
    rng = np.random.default_rng(seed)
    frames = np.full((n, H, W, 3), 120, np.uint8)
    for i in range(n // 3, n // 2):
        frames[i] = rng.integers(0, 256, (H, W, 3), np.uint8)
    return frames


def _write_folder(folder: Path, frames: np.ndarray) -> Path:
    folder.mkdir(parents=True)
    for i, frame in enumerate(frames):
        cv2.imwrite(str(folder / f"{i}.png"), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    return folder


def _write_film(path: Path, frames: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width = frames.shape[1:3]
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def _run(*arguments: object) -> int:
    return exit_code_of(command, name="score", arguments=[str(a) for a in arguments])


def _lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_scores_are_right_to_the_frame_without_torch(bundle: Path, tmp_path: Path) -> None:
    frames = _frames(40)
    folder = _write_folder(tmp_path / "film", frames)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, str(bundle), str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = _lines(done.stdout)
    scores = [line for line in lines if "score" in line]
    windows = np.stack([frames[i : i + T] for i in range(40 - T + 1)])
    components = reference(windows)[0]
    manifest = open_bundle(bundle).manifest
    expected = run_chain(
        manifest.causal_chain, manifest.components, components, manifest.calibration
    )
    assert [line["frame"] for line in scores] == list(range(T - 1, 40))
    assert {line["video"] for line in lines} == {"film"}
    for line, components_of_frame, score in zip(scores, components, expected, strict=True):
        np.testing.assert_allclose(
            [line["components"]["motion"], line["components"]["brightness"]],
            components_of_frame,
            atol=1e-6,
        )
        assert line["score"] == pytest.approx(score, abs=1e-3)
    events = [line for line in lines if "event" in line]
    assert [event["event"] for event in events] == ["start", "end"]
    # 13 is the first frame that differs from the one before it; the second of two raises.
    assert events[0]["frame"] == 14
    assert events[0]["frame"] < events[1]["frame"] < 40
    assert events[1]["peak"] == max(line["score"] for line in scores)
    # An event's line follows the line of the frame that caused it.
    assert lines[lines.index(events[0]) - 1]["frame"] == 14
    assert "engine: openvino fp32" in done.stderr
    assert "film: 36 frames scored" in done.stderr
    assert "1 event" in done.stderr


def test_times_of_a_film_are_its_own(bundle: Path, tmp_path: Path, capfd: Any) -> None:
    film = _write_film(tmp_path / "film.mp4", _frames(12))
    assert _run(bundle, film) == 0
    lines = _lines(capfd.readouterr().out)
    assert [(line["frame"], line["time_s"]) for line in lines if "score" in line] == [
        (i, pytest.approx(i / 10)) for i in range(T - 1, 12)
    ]


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_out_gets_lines_plots_and_overlays(bundle: Path, tmp_path: Path, backend: str) -> None:
    films = [
        _write_film(tmp_path / "in" / "a.mp4", _frames(20)),
        _write_film(tmp_path / "in" / "b.avi", _frames(25)),
    ]
    out = tmp_path / "out"
    code = _run(bundle, *films, "--out", out, "--plot", "--overlay", "--backend", backend)
    assert code == 0
    suffixes = sorted(file.suffix for file in out.iterdir())
    assert suffixes == [".jsonl", ".mp4", ".mp4", ".png", ".png"]
    lines = _lines((out / "scores.jsonl").read_text())
    assert len([line for line in lines if "score" in line]) == 20 + 25 - 2 * (T - 1)
    lengths = []
    for film in sorted(out.glob("*.mp4")):
        with av.open(str(film)) as container:
            lengths.append(sum(1 for _ in container.decode(video=0)))
    assert lengths == [20, 25]


def test_results_beside_the_film_leave_the_film_alone(bundle: Path, tmp_path: Path) -> None:
    film = _write_film(tmp_path / "film.mp4", _frames(12))
    content = film.read_bytes()
    assert _run(bundle, film, "--out", tmp_path, "--plot", "--overlay") == 0
    assert film.read_bytes() == content
    names = {path.name for path in tmp_path.iterdir() if path.is_file()}
    assert names == {"film.mp4", "film-overlay.mp4", "film-scores.png", "scores.jsonl"}


def test_a_bad_film_among_many_is_reported_and_the_rest_is_scored(
    bundle: Path, tmp_path: Path, capfd: Any
) -> None:
    folder = tmp_path / "films"
    _write_film(folder / "1.avi", _frames(10))
    (folder / "2.avi").write_bytes(b"this is not a film" * 100)
    _write_film(folder / "3.avi", _frames(T - 1))
    _write_film(folder / "4.avi", _frames(11))
    out = tmp_path / "out"
    assert _run(bundle, folder, "--out", out, "--plot", "--overlay") == 1
    lines = _lines((out / "scores.jsonl").read_text())
    scored = [line["video"] for line in lines if "score" in line]
    assert (scored.count(scored[0]), scored.count(scored[-1])) == (10 - T + 1, 11 - T + 1)
    assert "1" in scored[0]
    assert "4" in scored[-1]
    errors = [line for line in lines if "error" in line]
    assert [set(error) for error in errors] == [{"video", "error"}] * 2
    assert "2" in errors[0]["video"]
    assert "must have at least 5 frames" in errors[1]["error"]
    talk = capfd.readouterr().err
    assert all(error["error"] in talk for error in errors)
    assert "2 of 4 films could not be read to their end" in talk
    assert "Traceback" not in talk
    assert len(list(out.iterdir())) == 1 + 2 + 2


def test_a_truncated_folder_keeps_what_was_good(bundle: Path, tmp_path: Path, capfd: Any) -> None:
    folder = _write_folder(tmp_path / "film", _frames(20))
    (folder / "12.png").write_bytes(b"\x89PNG broken")
    out = tmp_path / "out"
    assert _run(bundle, folder, "--out", out, "--plot", "--overlay") == 1
    lines = _lines((out / "scores.jsonl").read_text())
    assert [line["frame"] for line in lines if "score" in line] == list(range(T - 1, 12))
    assert "12" in lines[-1]["error"]
    with av.open(str(out / "film-overlay.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 12
    assert (out / "film-scores.png").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["absent.vad", "film"], 2, "must be a bundle"),
        (["BUNDLE", "absent.mp4"], 2, "absent.mp4"),
        (["BUNDLE", "film", "--plot"], 2, "--plot: needs a folder to write into"),
        (["BUNDLE", "film", "--overlay"], 2, "--overlay: needs a folder to write into"),
        (["BUNDLE", "film", "--out", "film/0.png/a"], 2, "--out: must be a folder that can"),
        (["BUNDLE", "film", "--jsonl", "film"], 2, "--jsonl: must be a file that can be written"),
        (["BUNDLE", "film", "--backend", "abacus"], 1, "got 'abacus'"),
        (["BUNDLE", "film", "--threads", "0"], 2, "threads"),
        (["BUNDLE"], 2, "VIDEOS"),
    ],
)
def test_bad_usage_is_one_sentence_and_an_exit_code(
    bundle: Path,
    tmp_path: Path,
    capfd: Any,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    _write_folder(tmp_path / "film", _frames(T))
    assert _run(*[bundle if a == "BUNDLE" else a for a in arguments]) == code
    captured = capfd.readouterr()
    assert sentence.lower() in captured.err.lower()
    assert "Traceback" not in captured.err
    assert captured.out == ""
    assert [entry.name for entry in tmp_path.iterdir()] == ["film"]


def test_a_changed_byte_stops_before_anything_is_read(
    bundle: Path, tmp_path: Path, capfd: Any
) -> None:
    import shutil

    broken = Path(shutil.copytree(bundle, tmp_path / "tiny.vad"))
    content = bytearray((broken / "model.onnx").read_bytes())
    content[50] ^= 1
    (broken / "model.onnx").write_bytes(content)
    folder = _write_folder(tmp_path / "film", _frames(T))
    assert _run(broken, folder, "--out", tmp_path / "out") == 1
    assert "model.onnx was changed" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_films_of_one_name_do_not_overwrite_each_other(bundle: Path, tmp_path: Path) -> None:
    films = [_write_film(tmp_path / side / "film.avi", _frames(9)) for side in ("left", "right")]
    out = tmp_path / "out"
    assert _run(bundle, *films, "--out", out, "--plot") == 0
    assert len(list(out.glob("*.png"))) == 2


def test_another_frame_rate_than_in_training_is_said(
    bundle: Path, tmp_path: Path, capfd: Any
) -> None:
    import shutil

    slow = Path(shutil.copytree(bundle, tmp_path / "slow.vad"))
    values = manifest_values()
    values["input"] = {**values["input"], "fps": 25.0}
    seal(slow, values)
    film = _write_film(tmp_path / "film.avi", _frames(T))
    assert _run(slow, film) == 0
    assert "has 10 frames/s, the model was trained at 25" in capfd.readouterr().err
    assert _run(bundle, film) == 0
    assert "trained at" not in capfd.readouterr().err


def test_a_closed_pipe_ends_quietly(bundle: Path, tmp_path: Path) -> None:
    folder = _write_folder(tmp_path / "film", _frames(200))
    process = subprocess.Popen(
        [sys.executable, "-m", "vadfast.score", str(bundle), str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert json.loads(process.stdout.readline())["frame"] == T - 1
    process.stdout.close()
    talk = process.stderr.read()
    assert process.wait(timeout=60) == 1
    assert "rror" not in talk
    assert "Broken" not in talk


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c_ends_soon_and_leaves_nothing_half_written(bundle: Path, tmp_path: Path) -> None:
    folder = _write_folder(tmp_path / "film", _frames(3_000))
    out = tmp_path / "out"
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "vadfast.score",
            str(bundle),
            str(folder),
            "--out",
            str(out),
            "--overlay",
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not list(out.glob(".*.mp4")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, talk = process.communicate(timeout=60)
    assert process.returncode == 130, talk
    assert "stopped by Ctrl-C" in talk
    assert "Traceback" not in talk
    assert list(out.iterdir()) == []
