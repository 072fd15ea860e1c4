"""A camera's password is nobody's business: no sentence and no page shows it."""

import importlib
import sys
from pathlib import Path

import pytest

from vadfast.cli import exit_code_of
from vadfast.compile import __main__ as compile_command
from vadfast.compile import html_report
from vadfast.compile.evidence import Evidence
from vadfast.errors import SourceError, without_logins

URL = "rtsp://admin:secret@10.0.0.7:554/live?x=1"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (URL, "rtsp://10.0.0.7:554/live?x=1"),
        (str(Path(URL)), "rtsp:/10.0.0.7:554/live?x=1"),
        (f"'{URL}' and http://u:p@b/c", "'rtsp://10.0.0.7:554/live?x=1' and http://b/c"),
        ("rtsp://admin@cam/a", "rtsp://cam/a"),
        ("rtsp://a:p@ss@cam/live@2", "rtsp://cam/live@2"),
        ("rtsp://a:se/cret@cam/1", "rtsp://cam/1"),
        ("rtsp://a:12/34@cam", "rtsp://a:12/34@cam"),  # a host with its port, as far as one can see
        ("rtsp://cam:554/live@2", "rtsp://cam:554/live@2"),
        ("rtsp://cam/live@2 and me@home", "rtsp://cam/live@2 and me@home"),
        ("C:/me@home/a.mp4", "C:/me@home/a.mp4"),
        ("--data: /me@home/a.mp4: no such file", "--data: /me@home/a.mp4: no such file"),
    ],
)
def test_user_and_password_go_and_nothing_else(text: str, shown: str) -> None:
    assert without_logins(text) == shown
    assert str(SourceError(text)) == shown


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("score", ["BUNDLE", URL]),
        ("doctor", ["BUNDLE", "--video", URL]),
        ("compile", [URL, "--out", "a.vad"]),
        ("compile", ["RUN", "--out", "a.vad", "--sign", URL]),
        ("evaluate", ["BUNDLE", "--data", URL]),
        ("train", ["--data", URL, "--out", "run"]),
    ],
)
def test_a_command_that_is_given_an_address_shows_it_without(
    name: str,
    arguments: list[str],
    bundle: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    places = {"BUNDLE": str(bundle), "RUN": str(tmp_path / "run")}
    command = importlib.import_module(f"vadfast.{name}.__main__").command
    typed = [places.get(word, word) for word in arguments]
    assert exit_code_of(command, name=name, arguments=typed) in (1, 2)
    captured = capfd.readouterr()
    assert "error: " in captured.err
    assert "a fault of vadfast itself" not in captured.err
    for secret in ("admin", "secret"):
        assert secret not in captured.out + captured.err


def test_the_page_shows_the_command_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(
        html_report, "write_report", lambda *_, command_line: lines.append(command_line)
    )
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "vadfast.compile", "--calibrate", URL])
    compile_command._write_report({}, Evidence(), tmp_path / "page.html")
    assert lines == ["python -m vadfast.compile --calibrate 'rtsp://10.0.0.7:554/live?x=1'"]
