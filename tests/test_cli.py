"""Every command ends alike: one sentence on stderr, no box, and the exit code that its kind of error has."""

import errno
import importlib
import os
from pathlib import Path
from typing import Any

import pytest
import typer

from vadfast import cli
from vadfast.cli import COMMANDS, check_bundle, check_writable, check_writable_folder, exit_code_of
from vadfast.errors import BuildError, SourceError, UsageError

OF_A_BUNDLE = {"score": ["film"], "doctor": []}


def _run(name: str, *arguments: object) -> int:
    module = importlib.import_module(f"vadfast.{name}.__main__")
    return exit_code_of(module.command, name=name, arguments=[str(a) for a in arguments])


def _one_sentence(err: str) -> str:
    assert "Traceback" not in err
    assert "╭" not in err
    (line,) = err.strip().splitlines()
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize("name", COMMANDS)
def test_a_wrong_option_is_one_sentence_and_exit_2(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(name, "--nonsense") == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert _one_sentence(captured.err).startswith(f"error: {name}: no such option: --nonsense")
    assert captured.err.rstrip().endswith("; see --help")


@pytest.mark.parametrize(
    ("name", "lacking"),
    [
        ("train", "missing option '--out'"),
        ("evaluate", "missing argument 'RUN|BUNDLE...'"),
        ("compile", "missing option '--out'"),
        ("score", "missing argument 'bundle'"),
        ("ablate", "missing option '--data'"),
        ("features", "missing argument 'FILM...'"),
    ],
)
def test_what_is_missing_is_one_sentence_and_exit_2(
    name: str, lacking: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(name) == 2
    assert _one_sentence(capsys.readouterr().err) == f"error: {name}: {lacking}; see --help"


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("train", ["--data", "absent", "--out", "new"]),
        ("evaluate", ["absent", "--data", "absent"]),
        ("compile", ["absent", "--out", "new.vad"]),
        ("compile", ["absent", "--out", "new.vad", "--dry-run"]),
        ("score", ["absent.vad", "absent.mp4"]),
        ("doctor", ["absent.vad"]),
        ("ablate", ["--data", "absent", "--out", "new"]),
        ("features", ["absent.mp4", "--out", "new"]),
    ],
)
def test_a_path_to_nothing_is_one_sentence_and_exit_2(
    name: str,
    arguments: list[str],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert _run(name, *arguments) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert "absent" in errors[0]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", OF_A_BUNDLE)
def test_a_run_is_no_bundle_and_the_next_step_is_to_compile_it(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.toml").write_text("")
    film = tmp_path / "film"
    film.mkdir()
    (film / "0.png").write_bytes(b"")
    assert _run(name, run, *([film] if OF_A_BUNDLE[name] else [])) == 2
    said = _one_sentence(capsys.readouterr().err)
    assert "must be a bundle, got a training run; " in said
    assert said.endswith(f"python -m vadfast.compile {run} --out NAME.vad")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UsageError("--x: must be y"), 2, "error: --x: must be y"),
        (SourceError("film [1]: is none"), 1, "error: film [1]: is none"),
        (BuildError("export: failed"), 4, "error: export: failed"),
        (
            OSError(errno.EACCES, os.strerror(errno.EACCES), "a.txt"),
            1,
            "error: Permission denied: a.txt; run again with --debug for the place in the code",
        ),
        (
            KeyError("shape"),
            1,
            "error: try: a fault of vadfast itself (KeyError: 'shape'); please report it, with what the same command prints with --debug",
        ),
        (typer.Exit(5), 5, ""),
        (KeyboardInterrupt(), 130, "stopped by Ctrl-C"),
    ],
)
def test_each_kind_of_error_has_its_code_and_its_sentence(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> None:
        raise error

    assert exit_code_of(command, name="try", arguments=[]) == code
    assert capsys.readouterr().err.strip() == said


def test_a_fault_of_our_own_has_its_traceback_with_debug(monkeypatch: pytest.MonkeyPatch) -> None:
    def command(debug: cli.Debug = False) -> None:
        raise KeyError("shape")

    monkeypatch.setattr(cli, "_debug", False)
    with pytest.raises(KeyError, match="shape"):
        exit_code_of(command, name="try", arguments=["--debug"])


def test_what_cannot_be_written_is_found_and_nothing_is_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    check_writable("--json", tmp_path / "new" / "a.json")
    check_writable_folder("--out", tmp_path / "new" / "deep")
    check_writable_folder("--out", tmp_path)
    for file in (tmp_path, tmp_path / "file" / "a.json", tmp_path / ("a" * 300) / "a.json"):
        with pytest.raises(UsageError, match="--json: must be a file that can be written, got"):
            check_writable("--json", file)
    for folder in (tmp_path / "file", tmp_path / "file" / "b", Path("/proc/none")):
        with pytest.raises(UsageError, match="--out: must be a folder that can be written to"):
            check_writable_folder("--out", folder)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_bundle_that_is_there_is_left_to_whoever_opens_it(tmp_path: Path) -> None:
    check_bundle(tmp_path)
    with pytest.raises(UsageError, match=r"got nothing; check the path"):
        check_bundle(tmp_path / "absent.vad")


def test_the_first_line_comes_at_once_and_not_into_json(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def said(json_file: Path | None) -> Any:
        with cli.starting("loading what takes seconds", json_file):
            return capsys.readouterr().err

    assert said(None) == said(Path("a.json")) == "loading what takes seconds ...\n"
    assert said(Path("-")) == ""
