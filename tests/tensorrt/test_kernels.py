"""TensorRT-RTX's compiled kernels on disk: given back at the next start, replaced where they do not fit, and bounded."""

import errno
import logging
import sys
from pathlib import Path

import pytest

from tests.tensorrt.conftest import Machine
from tests.tensorrt.scores import assert_scores
from vadfast.errors import BackendError
from vadfast.runtime.tensorrt import kernels, private_file


@pytest.fixture
def rtx_machine(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """The same machine with TensorRT-RTX instead."""
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setitem(sys.modules, "tensorrt_bindings", None)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", machine.tensorrt.module)
    return machine


def _warning(caplog: pytest.LogCaptureFixture) -> str:
    (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    return record.getMessage()


def test_the_second_start_compiles_nothing(rtx_machine: Machine) -> None:
    rtx_machine.load()
    file = rtx_machine.kept[".kernels"]
    assert file.stem == rtx_machine.kept[".engine"].stem
    assert file.read_bytes() == b"kernels"
    assert file.stat().st_mode & 0o777 == 0o600
    written = file.stat().st_mtime_ns
    assert_scores(rtx_machine.load())
    assert rtx_machine.tensorrt.n_compiled == 1
    assert file.stat().st_mtime_ns == written  # nothing new


def test_tensorrt_itself_has_none(machine: Machine) -> None:
    machine.load()
    assert machine.tensorrt.n_compiled == 0
    assert ".kernels" not in machine.kept


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("RuntimeConfig", "does not start, it gives no configuration: no reason given"),
        ("RuntimeCache", "does not start, it gives no cache of kernels: no reason given"),
        ("", "does not take its cache of kernels: no reason given; take another --backend"),
    ],
)
def test_kernels_that_have_no_place_are_a_sentence(
    rtx_machine: Machine, name: str, words: str
) -> None:
    rtx_machine.tensorrt.gives_no = name
    rtx_machine.tensorrt.takes_cache = bool(name)
    with pytest.raises(BackendError, match=rf"^TensorRT-RTX 11.4.0 {words}"):
        rtx_machine.load()


def test_what_does_not_fit_is_compiled_again_and_replaced(
    rtx_machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    rtx_machine.load()
    rtx_machine.kept[".kernels"].write_bytes(b"of another driver")
    rtx_machine.tensorrt.takes_kernels = False
    assert_scores(rtx_machine.load())
    assert "is of another GPU, driver or version, compiling again" in caplog.text
    assert rtx_machine.tensorrt.n_compiled == 2
    assert rtx_machine.kept[".kernels"].read_bytes() == b"kernels"


def test_a_new_engine_has_new_kernels(rtx_machine: Machine) -> None:
    rtx_machine.load()
    rtx_machine.kept[".engine"].write_bytes(b"damaged")
    assert_scores(rtx_machine.load())
    assert rtx_machine.tensorrt.n_compiled == 2


def test_another_users_kernels_are_not_given(
    rtx_machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    rtx_machine.load()
    rtx_machine.kept[".kernels"].chmod(0o666)
    assert_scores(rtx_machine.load())
    assert "can be written by another user" in _warning(caplog)
    assert rtx_machine.tensorrt.n_compiled == 2


@pytest.mark.parametrize("when", ["read", "write"])
def test_too_many_are_not_kept_and_not_read(
    rtx_machine: Machine,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    when: str,
) -> None:
    if when == "read":
        rtx_machine.load()
    monkeypatch.setattr(kernels, "MAX_BYTES", 6)
    assert_scores(rtx_machine.load())
    said = {
        "read": "it must have at most 0 MB",
        "write": "are not kept, so the next start compiles",
    }
    assert said[when] in caplog.text
    assert (".kernels" in rtx_machine.kept) == (when == "read")


def test_a_full_disk_costs_a_sentence(
    rtx_machine: Machine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    rtx_machine.load()
    rtx_machine.kept[".kernels"].unlink()

    def full(file: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(kernels, "write_private", full)
    assert_scores(rtx_machine.load())
    assert "cannot be written (No space left on device)" in _warning(caplog)
    assert private_file.write_private is not full  # the engine is written by the real one
