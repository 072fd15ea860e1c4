"""Engines on disk: opened only where they fit, built again and said where they do not, and never half there."""

import errno
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tensorrt.conftest import Machine
from tests.tensorrt.scores import assert_scores
from vadfast.errors import BackendError
from vadfast.progress import Steps


def test_the_second_start_opens_what_the_first_built(machine: Machine) -> None:
    machine.load()
    assert_scores(machine.load())
    assert machine.tensorrt.n_built == 1
    machine.load(batch=1)  # another engine, which does not replace the first
    machine.load(precision="fp16")
    assert_scores(machine.load())
    assert machine.tensorrt.n_built == 3


def _warnings(caplog: pytest.LogCaptureFixture) -> str:
    """What was said, once: a second warning about one engine would be noise."""
    (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    caplog.clear()
    return record.getMessage()


def test_another_version_gpu_or_driver_builds_again_and_says_why(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    machine.load()
    machine.tensorrt.module.__version__ = "10.3.0"
    assert_scores(machine.load())
    assert "built for library TensorRT 11.4.0, here is TensorRT 10.3.0" in _warnings(caplog)
    runtime = machine.cuda.module.cuda.runtime
    runtime.driverGetVersion = lambda: 13010
    assert_scores(machine.load())
    assert "it was built for driver 13000, here is 13010" in _warnings(caplog)
    runtime.getDeviceProperties = lambda i: {"name": b"Fake GPU", "major": 8, "minor": 7}
    assert_scores(machine.load())
    assert "it was built for compute_capability 9.0, here is 8.7" in _warnings(caplog)
    assert machine.tensorrt.n_built == 4
    assert len(list(machine.cache.glob("*.engine"))) == 1  # each replaced the one before


def test_a_cached_engine_that_is_refused_is_built_again_once(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    machine.load()
    machine.tensorrt.refuse = 1
    assert_scores(machine.load())
    assert _warnings(caplog) == (
        "tensorrt: TensorRT 11.4.0 refuses its cached engine, building it again: Platform specific tag mismatch"
    )
    machine.tensorrt.refuse = 5
    with pytest.raises(
        BackendError, match=r"refuses the engine that it has just built for Fake GPU: Platform"
    ):
        machine.load()
    assert machine.tensorrt.refuse == 3  # the cached one and the new one were tried, no more
    machine.tensorrt.refuse = 0
    assert_scores(machine.load())  # the good one is still there
    assert machine.tensorrt.n_built == 3


@pytest.mark.parametrize(
    ("suffix", "damage", "words"),
    [
        (
            ".engine",
            lambda p: p.write_bytes(p.read_bytes()[:-1]),
            "it was changed since it was built",
        ),
        (".json", lambda p: p.write_text("{"), ".json is damaged"),
        (".json", lambda p: p.write_text("[]"), ".json is damaged"),
        (".json", lambda p: p.unlink(), "No such file"),
        (".engine", lambda p: p.chmod(0o666), "can be written by another user"),
    ],
)
def test_a_damaged_cache_builds_again(
    machine: Machine,
    caplog: pytest.LogCaptureFixture,
    suffix: str,
    damage: Callable[[Path], object],
    words: str,
) -> None:
    machine.load()
    damage(machine.kept[suffix])
    assert_scores(machine.load())
    assert words in _warnings(caplog)
    assert_scores(machine.load())
    assert machine.tensorrt.n_built == 2


def test_another_users_engine_is_not_opened(
    machine: Machine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.load()
    if os.geteuid() == 0:
        os.chown(machine.kept[".engine"], 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: machine.kept[".engine"].stat().st_uid + 1)
    assert_scores(machine.load())
    assert "can be written by another user" in _warnings(caplog)


def test_a_cache_that_cannot_be_written_costs_a_build_and_a_sentence(
    machine: Machine,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("VADFAST_CACHE", str(tmp_path / "file"))
    assert_scores(machine.load())
    said = _warnings(caplog)
    assert "is not kept, so the next start builds it again" in said
    assert "set VADFAST_CACHE to a folder with 1 MB free" in said


def test_a_full_disk_leaves_no_half_engine(
    machine: Machine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert_scores(machine.load())
    assert "cannot be written (No space left on device)" in _warnings(caplog)
    assert machine.kept == {}


def test_an_interrupted_build_leaves_nothing(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Steps, "update", interrupted)
        with pytest.raises(KeyboardInterrupt):
            machine.load()
    assert machine.kept == {}
    assert machine.tensorrt.n_built == 0
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            machine.load()
    assert machine.kept == {}
    assert_scores(machine.load())


def test_timings_serve_the_next_build_and_those_of_another_version_are_replaced(
    machine: Machine,
) -> None:
    machine.load()
    assert machine.tensorrt.timings_given == [b""]
    assert machine.kept[".timings"].read_bytes() == b"+"
    machine.load(batch=1)
    assert machine.tensorrt.timings_given == [b"", b"+"]
    machine.tensorrt.takes_timings = False
    assert machine.load(batch=3).batch == 3
    assert machine.tensorrt.timings_given == [b"", b"+", b"++", b""]
    assert machine.kept[".timings"].read_bytes() == b"+"


def test_the_header_says_for_what_an_engine_was_built(machine: Machine) -> None:
    machine.load()
    header = json.loads(machine.kept[".json"].read_text())
    assert header["library"] == "TensorRT 11.4.0"
    assert (header["gpu"], header["compute_capability"], header["driver"]) == (
        "Fake GPU",
        "9.0",
        13000,
    )
    assert (header["precision"], header["batch"]) == ("fp32", 2)
    assert machine.kept[".engine"].stat().st_mode & 0o777 == 0o600
