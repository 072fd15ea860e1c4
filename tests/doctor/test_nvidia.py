"""The line about NVIDIA: what is there, with its version, and whether ``--target tensorrt`` can run. Nothing of it is here: finders stand in."""

import ctypes
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vadfast.cli import exit_code_of
from vadfast.doctor import films
from vadfast.doctor import nvidia as nvidia_module
from vadfast.doctor.__main__ import command
from vadfast.doctor.nvidia import nvidia, nvidia_words
from vadfast.errors import BackendError

DRIVER = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Thu Jan 23 10:02:04 UTC 2025\nGCC version: gcc 13.3.0\n"
JETSON = "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with nothing of NVIDIA's; a test adds what it wants."""

    def absent(name: str) -> Any:
        def find(*_: object) -> Any:
            raise BackendError(f"needs {name}")

        return find

    def no_library(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(nvidia_module, "_DRIVER", tmp_path / "version")
    monkeypatch.setattr(nvidia_module, "_JETSON", tmp_path / "release")
    monkeypatch.setattr(nvidia_module, "find_library", absent("TensorRT"))
    monkeypatch.setattr(nvidia_module, "import_cupy", absent("CuPy"))
    monkeypatch.setattr(nvidia_module, "missing", lambda: "cannot run here: no NVIDIA driver")
    monkeypatch.setattr(ctypes, "CDLL", no_library)
    return tmp_path


def _has_driver(machine: Path, monkeypatch: pytest.MonkeyPatch, status: int = 0) -> None:
    def version(number: Any) -> int:
        number._obj.value = 12080
        return status

    (machine / "version").write_text(DRIVER)
    driver = SimpleNamespace(cuDriverGetVersion=version)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: driver)


def test_nothing_there_is_said_of_each(machine: Path) -> None:
    found = nvidia()
    assert set(found.values()) == {None, "cannot run here: no NVIDIA driver"}
    assert nvidia_words(found) == (
        "no driver, no TensorRT, no CuPy: --target tensorrt cannot run here: no NVIDIA driver"
    )


def test_what_is_there_has_its_version(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _has_driver(machine, monkeypatch)
    monkeypatch.setattr(nvidia_module, "find_library", lambda: SimpleNamespace(name="TensorRT-RTX 1.7.1"))  # fmt: skip
    monkeypatch.setattr(nvidia_module, "missing", lambda: "needs CuPy, which cannot be imported")
    assert nvidia_words(nvidia()) == (
        "driver 570.86.15 for CUDA up to 12.8, TensorRT-RTX 1.7.1, no CuPy: "
        "--target tensorrt needs CuPy, which cannot be imported"
    )
    monkeypatch.setattr(nvidia_module, "import_cupy", lambda: SimpleNamespace(__version__="14.0.1"))
    monkeypatch.setattr(nvidia_module, "missing", lambda: None)
    assert nvidia_words(nvidia()).endswith("CuPy 14.0.1: --target tensorrt can run here")


def test_a_jetson_is_named_with_its_jetpack(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (machine / "release").write_text(JETSON)
    assert nvidia_words(nvidia()).startswith("Jetson Linux 36.4.3 (JetPack 6), no driver, ")
    (machine / "release").write_text(JETSON.replace("R36", "R99"))
    assert nvidia()["jetson"] == "Jetson Linux 99.4.3", "of a JetPack that is not known"
    _has_driver(machine, monkeypatch, status=1)
    assert (nvidia()["driver"], nvidia()["cuda"]) == ("570.86.15", None)


def test_the_doctor_prints_it(
    bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(films, "CAMERAS", ((96, 64, 0.1),))
    monkeypatch.setattr("vadfast.doctor.__main__.nvidia", lambda: dict.fromkeys(("driver", "cuda", "jetson", "tensorrt", "cupy", "refusal")))  # fmt: skip
    line = "NVIDIA: no driver, no TensorRT, no CuPy: --target tensorrt can run here"
    assert exit_code_of(command, name="doctor", arguments=["--operator", "preprocess"]) == 0
    assert line in capsys.readouterr().out
    assert exit_code_of(command, name="doctor", arguments=[str(bundle), "--rounds", "3"]) == 0
    assert line in capsys.readouterr().out
