"""A result is the old one or the new one, whole, wherever writing it is stopped."""

import os
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from vadfast.atomic import atomic_directory, atomic_file, write_text

FAULTS = (KeyboardInterrupt(), OSError(28, "No space left on device"), SystemExit(143))


def _stop(
    monkeypatch: pytest.MonkeyPatch, at: int, fault: BaseException, *, done: bool
) -> list[int]:
    """Lets the renames before number ``at`` pass; that one raises ``fault`` before it is done, or after. The others are done."""
    rename: Callable[..., None] = os.replace
    calls: list[int] = []

    def replaced(source: Path, target: Path) -> None:
        calls.append(len(calls))
        if calls[-1] != at:
            return rename(source, target)
        if done:
            rename(source, target)
        raise fault

    monkeypatch.setattr(os, "replace", replaced)
    return calls


def _write_folder(target: Path, words: str) -> None:
    with atomic_directory(target) as temporary:
        (temporary / "a").write_text(words)
        (temporary / "b").write_text(words)


def _content(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in folder.iterdir()}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
@pytest.mark.parametrize(
    ("at", "done", "stays"),
    [
        (0, False, "old"),
        (0, True, "old"),  # between the two
        (1, False, "old"),
        (1, True, "new"),
    ],
)
def test_a_folder_is_the_old_or_the_new_one_wherever_its_renames_are_stopped(
    at: int,
    done: bool,
    stays: str,
    fault: BaseException,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target = tmp_path / "a.vad"
    _write_folder(target, "old")
    calls = _stop(monkeypatch, at, fault, done=done)
    with pytest.raises(type(fault)):
        _write_folder(target, "new")
    assert at in calls
    assert _content(target) == {"a": stays, "b": stays}
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("done", [False, True])
def test_a_new_folder_is_there_or_not_wherever_its_rename_is_stopped(
    done: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "deep" / "a.vad"
    _stop(monkeypatch, 0, KeyboardInterrupt(), done=done)
    with pytest.raises(KeyboardInterrupt):
        _write_folder(target, "new")
    assert list(target.parent.iterdir()) == ([target] if done else [])


def test_the_old_folder_is_not_deleted_where_it_cannot_be_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "a.vad"
    _write_folder(target, "old")
    rename = os.replace
    n_calls = 0

    def once(source: Path, aim: Path) -> None:
        nonlocal n_calls
        n_calls += 1
        if n_calls > 1:
            raise PermissionError(13, "Permission denied")
        rename(source, aim)

    monkeypatch.setattr(os, "replace", once)
    with pytest.raises(PermissionError):
        _write_folder(target, "new")
    (kept,) = (path for path in tmp_path.iterdir() if ".old" in path.name)
    assert _content(kept) == {"a": "old", "b": "old"}


def _begin(new: AbstractContextManager[Path], name: str) -> None:
    """Writes a part and is interrupted."""
    with new as temporary:
        (temporary / name).write_text("new")
        raise KeyboardInterrupt


@pytest.mark.parametrize("existing", [False, True])
def test_what_fails_while_it_is_written_leaves_what_was(existing: bool, tmp_path: Path) -> None:
    folder, file = tmp_path / "folder", tmp_path / "file.txt"
    if existing:
        _write_folder(folder, "old")
        write_text(file, "old")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(KeyboardInterrupt):
        _begin(atomic_directory(folder), "a")
    with pytest.raises(KeyboardInterrupt):
        _begin(atomic_file(file), "")
    assert sorted(tmp_path.rglob("*")) == before
    if existing:
        assert _content(folder) == {"a": "old", "b": "old"}
        assert file.read_text() == "old"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
@pytest.mark.parametrize(("done", "stays"), [(False, "old"), (True, "new")])
def test_a_file_is_the_old_or_the_new_one_wherever_its_rename_is_stopped(
    done: bool, stays: str, fault: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "a.txt"
    write_text(target, "old")
    _stop(monkeypatch, 0, fault, done=done)
    with pytest.raises(type(fault)):
        write_text(target, "new")
    assert target.read_text() == stays
    assert list(tmp_path.iterdir()) == [target]


def test_what_a_killed_process_of_the_same_number_left_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a container every process may be number 1."""
    monkeypatch.setattr(os, "getpid", lambda: 1)
    folder, file = tmp_path / "a.vad", tmp_path / "a.txt"
    for target in (folder, file):
        # Left as it was when the process was killed, which runs no ``finally``; kept, or it would end here.
        left = atomic_directory(folder) if target is folder else atomic_file(file)
        temporary = left.__enter__()
        if target is file:
            temporary.write_text("half")
        for _ in range(3):
            if target is folder:
                _write_folder(folder, "whole")
            else:
                write_text(file, "whole")
        assert temporary.exists()
        left.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert _content(folder) == {"a": "whole", "b": "whole"}
    assert file.read_text() == "whole"


def test_a_temporary_file_has_the_suffix_of_its_target_and_is_hidden(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "film.mp4") as temporary:
        assert temporary.suffix == ".mp4"
        assert temporary.name.startswith(".film.")
        assert not temporary.exists()
        temporary.touch()


def test_a_folder_is_open_to_whom_any_new_folder_is(tmp_path: Path) -> None:
    (tmp_path / "usual").mkdir()
    _write_folder(tmp_path / "a.vad", "new")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("usual", "a.vad")}
    assert len(modes) == 1
