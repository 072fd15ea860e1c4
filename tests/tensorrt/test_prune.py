"""The cache of engines stays within its limit: the longest unused go, what runs stays."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tensorrt.conftest import Machine
from tests.tensorrt.scores import assert_scores
from vadfast.errors import BackendError
from vadfast.runtime.tensorrt.prune import hold, limit_bytes, prune

MB = 1 << 20


def _engine(folder: Path, name: str, *, age_s: int, size: int = MB) -> Path:
    """An engine and its header, last opened ``age_s`` ago."""
    engine = folder / f"{name}.engine"
    engine.write_bytes(bytes(size))
    (folder / f"{name}.json").write_text("{}")
    for file in (engine, engine.with_suffix(".json")):
        status = file.stat()
        os.utime(file, (status.st_atime - age_s, status.st_mtime - age_s))
    return engine


def _names(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


def test_the_longest_unused_go_until_the_rest_fits(tmp_path: Path) -> None:
    for name, age_s in (("b", 30), ("a", 40), ("c", 20), ("new", 0)):
        _engine(tmp_path, name, age_s=age_s)
    (tmp_path / "TensorRT-GPU.timings").write_bytes(bytes(9))  # all builds share it
    (tmp_path / "a.kernels").write_bytes(bytes(9))
    os.utime(tmp_path / "a.kernels", (0, 0))
    prune(tmp_path, 3 * MB, but=tmp_path / "new.engine")
    assert _names(tmp_path) == {
        "c.engine", "c.json", "new.engine", "new.json", "TensorRT-GPU.timings",
    }  # fmt: skip


def test_within_the_limit_nothing_goes(tmp_path: Path) -> None:
    _engine(tmp_path, "a", age_s=9)
    before = _names(tmp_path)
    prune(tmp_path, 2 * MB, but=tmp_path / "new.engine")
    assert _names(tmp_path) == before


def test_the_newest_stays_however_large(tmp_path: Path) -> None:
    new = _engine(tmp_path, "new", age_s=0, size=3 * MB)
    prune(tmp_path, MB, but=new)
    assert new.exists()


def test_what_another_process_runs_stays(tmp_path: Path) -> None:
    used, unused = (_engine(tmp_path, name, age_s=a) for name, a in (("used", 90), ("unused", 10)))
    code = (
        "import sys; from pathlib import Path; from vadfast.runtime.tensorrt.prune import hold\n"
        "assert hold(Path(sys.argv[1])) is not None; print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(used)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        prune(tmp_path, 0, but=tmp_path / "new.engine")
        assert used.exists()
        assert not unused.exists()
        process.communicate()
    prune(tmp_path, 0, but=tmp_path / "new.engine")  # its process has ended
    assert _names(tmp_path) == set()


def test_what_is_left_of_an_engine_goes_too(tmp_path: Path) -> None:
    (tmp_path / ".a.123.tmp.engine").write_bytes(bytes(9))  # a build that was killed
    (tmp_path / "a.json").write_text("{}")
    prune(tmp_path, 0, but=tmp_path / "new.engine")
    assert _names(tmp_path) == set()


def test_an_engine_is_held_until_it_is_closed_and_opening_is_use(tmp_path: Path) -> None:
    engine = _engine(tmp_path, "a", age_s=900)
    before = engine.stat().st_mtime
    held = hold(engine)
    assert held is not None
    assert engine.stat().st_mtime > before + 800
    prune(tmp_path, 0, but=tmp_path / "new.engine")
    assert engine.exists()
    os.close(held)
    prune(tmp_path, 0, but=tmp_path / "new.engine")
    assert not engine.exists()
    assert hold(engine) is None


def test_loading_makes_room_and_close_lets_go(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VADFAST_TENSORRT_CACHE_MB", "0")
    first = machine.load(batch=1)
    second = machine.load(batch=2)
    assert len(list(machine.cache.glob("*.engine"))) == 2  # both run
    first.close()
    first.close()
    third = machine.load(batch=3)
    kept = sorted(p.name.split("-")[2] for p in machine.cache.glob("*.engine"))
    assert kept == ["b2", "b3"]
    assert_scores(second)
    second.close()
    third.close()


def test_the_limit_is_a_number_with_a_default(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VADFAST_TENSORRT_CACHE_MB", raising=False)
    assert limit_bytes() == 2048 * MB
    monkeypatch.setenv("VADFAST_TENSORRT_CACHE_MB", "2 GB")
    with pytest.raises(BackendError, match="must be a whole number of megabytes, got '2 GB'"):
        machine.load()
    assert machine.tensorrt.n_built == 0  # said before the build


def test_what_cannot_be_deleted_is_said(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    machine.load(batch=1).close()
    monkeypatch.setenv("VADFAST_TENSORRT_CACHE_MB", "0")

    def denied(self: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    with monkeypatch.context() as patch:
        patch.setattr("vadfast.runtime.tensorrt.prune.Path.unlink", denied)
        patch.setattr("vadfast.runtime.tensorrt.cache.EngineCache.write", lambda *_: None)
        assert_scores(machine.load(batch=2))
    assert "cannot be deleted (Permission denied); delete it, or set VADFAST_CACHE" in caplog.text
