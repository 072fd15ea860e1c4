"""A key that could not be read or made at the end of a compile run is found at its start, and finding out makes nothing."""

from pathlib import Path

import pytest

from vadfast.cli import exit_code_of
from vadfast.compile.__main__ import command
from vadfast.compile.signing import OWN_KEY, OWN_PUBLIC_KEY, check_key, open_key
from vadfast.errors import UsageError
from vadfast.runtime.signature import trusted_folder

WORDS = r"^VADFAST_CONFIG: must be a folder that can be read and written, .* or name a key with --sign KEY\.pem$"


def _below_a_file(tmp_path: Path) -> Path:
    (tmp_path / "file").write_text("")
    return tmp_path / "file" / "config"


def _with_a_folder_for_a_key(tmp_path: Path) -> Path:
    (tmp_path / "config" / "trusted" / OWN_PUBLIC_KEY).mkdir(parents=True)
    return tmp_path / "config"


@pytest.mark.parametrize("made", [_below_a_file, lambda _: Path("/proc/none")])
def test_a_folder_that_takes_no_key_is_named_before_one_is_needed(
    made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made(tmp_path)
    monkeypatch.setenv("VADFAST_CONFIG", str(folder))
    for use in (check_key, open_key):
        with pytest.raises(UsageError, match=WORDS) as caught:
            use(None)
        assert str(folder) in str(caught.value)


def test_a_home_that_takes_no_key_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VADFAST_CONFIG")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("HOME", str(_below_a_file(tmp_path)))
    with pytest.raises(UsageError, match=WORDS):
        check_key(None)

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(UsageError, match=r"there is none \(Could not determine home directory"):
        check_key(None)


def test_a_public_key_that_cannot_be_read_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VADFAST_CONFIG", str(tmp_path / "first"))
    open_key(None)
    folder = _with_a_folder_for_a_key(tmp_path)
    (tmp_path / "first" / OWN_KEY).rename(folder / OWN_KEY)
    monkeypatch.setenv("VADFAST_CONFIG", str(folder))
    for use in (check_key, open_key):
        with pytest.raises(UsageError, match=WORDS):
            use(None)


def test_finding_out_makes_nothing_and_a_key_that_is_there_needs_no_folder_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VADFAST_CONFIG", str(tmp_path / "new" / "config"))
    check_key(None)
    assert list(tmp_path.iterdir()) == []
    key = open_key(None)
    assert [file.name for file in trusted_folder().iterdir()] == [OWN_PUBLIC_KEY]
    monkeypatch.setattr("vadfast.compile.signing.takes_files", lambda _: False)
    check_key(None)  # as in a container whose configuration is read-only
    assert open_key(None).private_bytes_raw() == key.private_bytes_raw()
    (trusted_folder() / OWN_PUBLIC_KEY).unlink()
    with pytest.raises(UsageError, match=WORDS):
        check_key(None)


def test_a_key_of_its_own_that_is_none_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VADFAST_CONFIG", str(tmp_path))
    (tmp_path / OWN_KEY).write_text("no key")
    with pytest.raises(UsageError, match=f"{OWN_KEY} must be an ed25519 private key"):
        check_key(None)


@pytest.mark.parametrize("extra", [[], ["--dry-run"]])
def test_a_wrong_key_is_said_before_any_work(
    extra: list[str], run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "key.pem").write_text("no key")
    arguments = [str(run), "--out", str(tmp_path / "a.vad"), "--sign", str(tmp_path / "key.pem")]
    assert exit_code_of(command, name="compile", arguments=[*arguments, *extra]) == 2
    captured = capsys.readouterr()
    assert "key.pem must be an ed25519 private key as PEM" in captured.err
    assert "exporting" not in captured.err


@pytest.mark.parametrize("extra", [[], ["--dry-run"]])
def test_the_command_says_so_before_any_work(
    extra: list[str],
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("VADFAST_CONFIG", str(_below_a_file(tmp_path)))
    before = sorted(tmp_path.rglob("*"))
    arguments = [str(run), "--out", str(tmp_path / "a.vad"), *extra]
    assert exit_code_of(command, name="compile", arguments=arguments) == 2
    captured = capsys.readouterr()
    (line,) = [line for line in captured.err.splitlines() if line.startswith("error:")]
    assert "VADFAST_CONFIG" in line
    assert "--sign" in line
    assert "exporting" not in captured.err
    assert captured.out == ""
    assert sorted(tmp_path.rglob("*")) == before
