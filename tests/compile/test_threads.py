"""The number of threads that is tried, what is chosen, and that a bundle's engine gets it where it holds."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from tests.compile.tiny import SPEC, TinyScorer
from vadfast.compile import threads
from vadfast.compile.backends import Workshop
from vadfast.compile.backends.onnxruntime import ONNXRuntimeBackend
from vadfast.compile.backends.openvino import OpenVINOBackend
from vadfast.compile.threads import counts, pick, settings, tune
from vadfast.errors import BackendError
from vadfast.race import summarise
from vadfast.runtime.engine import Outputs
from vadfast.runtime.manifest import Threads

Computer = Callable[..., None]


@pytest.fixture
def computer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Computer:
    """Makes this a machine of other cores and another share of their time."""

    def be(siblings: dict[int, str], quota: str | None = None) -> None:
        for cpu, shared in siblings.items():
            folder = tmp_path / f"cpu{cpu}" / "topology"
            folder.mkdir(parents=True)
            (folder / "thread_siblings_list").write_text(f"{shared}\n")
        if quota is not None:
            (tmp_path / "cpu.max").write_text(f"{quota}\n")
        monkeypatch.setattr(threads, "_CPUS", tmp_path)
        monkeypatch.setattr(threads, "_QUOTA", tmp_path / "cpu.max")
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(siblings))

    return be


TWO_A_CORE = {0: "0,4", 1: "1,5", 4: "0,4", 5: "1,5"}


@pytest.mark.parametrize(
    ("siblings", "quota", "tried"),
    [
        ({0: "0", 1: "1"}, None, (2,)),
        (TWO_A_CORE, None, (2, 4)),
        (TWO_A_CORE, "max 100000", (2, 4)),
        (TWO_A_CORE, "150000 100000", (2,)),  # one and a half CPUs' time
        (TWO_A_CORE, "300000 100000", (2, 3)),
        ({n: str(n) for n in range(64)}, "200000 100000", (2,)),
        ({0: "0-1"}, None, (1,)),  # taskset to one half of a core
    ],
)
def test_cores_and_cpus_as_far_as_they_are_ours(
    computer: Computer, siblings: dict[int, str], quota: str | None, tried: tuple[int, ...]
) -> None:
    computer(siblings, quota)
    assert counts() == tried


def test_what_linux_does_not_say_is_a_core_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "_CPUS", tmp_path)
    monkeypatch.setattr(threads, "_QUOTA", tmp_path / "none")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    assert counts() == (3,)


def test_there_is_nothing_to_tell_where_all_take_all_cpus(computer: Computer) -> None:
    computer({0: "0", 1: "1"})
    default = Threads(n=None, cpus=2)
    assert settings(ONNXRuntimeBackend()) == (default,)
    assert settings(OpenVINOBackend()) == (default, Threads(n=None, pinned=False, cpus=2))


def test_every_count_is_tried_beside_the_default(computer: Computer) -> None:
    computer(TWO_A_CORE)
    numbers = [(s.n, s.pinned) for s in settings(ONNXRuntimeBackend())]
    assert numbers == [(None, None), (2, None), (4, None)]
    assert len(settings(OpenVINOBackend())) == 6


def test_the_default_stays_unless_another_is_faster_beyond_doubt() -> None:
    default = summarise([10.0, 10.2, 9.9, 10.1, 10.0])
    noise = summarise([9.9, 10.3, 9.8, 10.0, 10.1])
    faster = summarise([8.0, 8.1, 7.9, 8.2, 8.0])
    assert pick([default, noise]) == 0
    assert pick([default, noise, faster]) == 2
    assert pick([faster, default]) == 0


@dataclass
class _Sleeper:
    """Takes as long as its setting says; counts who was closed."""

    name: str = "onnxruntime"
    packages: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ("fp32",)
    closed: list[float] = field(default_factory=list)
    takes_ms: dict[int | None, float] = field(default_factory=dict)

    def can_run(self, precision: str) -> str | None:
        return None

    def build(self, workshop: Workshop, precision: str, batch: int) -> "_Sleeper._Engine":
        n = workshop.n_threads(self.name)
        if n not in self.takes_ms:
            raise BackendError(f"does not take {n} threads")
        return self._Engine(self, self.takes_ms[n])

    @dataclass
    class _Engine:
        owner: "_Sleeper"
        ms: float
        backend: str = "onnxruntime"
        precision: str = "fp32"
        batch: int = 1

        def __call__(self, frames: np.ndarray) -> Outputs:
            time.sleep(self.ms / 1e3)
            return Outputs(np.zeros((1, 1), np.float32), np.zeros((1, 2, 2), np.float32))

        def close(self) -> None:
            self.owner.closed.append(self.ms)


def test_the_fastest_setting_is_measured(
    computer: Computer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    computer(TWO_A_CORE)
    backend = _Sleeper(takes_ms={None: 30.0, 2: 5.0, 4: 20.0})
    workshop = Workshop(TinyScorer(), SPEC, None, tmp_path)
    window = np.zeros((1, 3, 16, 24, 3), np.uint8)
    found = tune(workshop, [backend], [window])
    assert found == {"onnxruntime": Threads(n=2, cpus=4)}
    assert sorted(backend.closed) == [5.0, 20.0, 30.0]
    said = capsys.readouterr().err
    assert "threads of onnxruntime: 2 threads, " in said


def test_a_backend_that_cannot_be_built_is_left_to_the_race(
    computer: Computer, tmp_path: Path
) -> None:
    computer(TWO_A_CORE)
    backend = _Sleeper(takes_ms={None: 1.0, 2: 1.0})
    workshop = Workshop(TinyScorer(), SPEC, None, tmp_path)
    assert tune(workshop, [backend], [np.zeros((1, 3, 16, 24, 3), np.uint8)]) == {}
    assert sorted(backend.closed) == [1.0, 1.0]


def test_what_was_asked_for_goes_before_what_was_measured() -> None:
    tuned = {"openvino": Threads(n=4, pinned=False, cpus=8)}
    workshop = Workshop(TinyScorer(), SPEC, None, Path(), tuned=tuned)
    assert (workshop.n_threads("openvino"), workshop.pinned("openvino")) == (4, False)
    assert (workshop.n_threads("mnn"), workshop.pinned("mnn")) == (None, None)
    asked = Workshop(TinyScorer(), SPEC, None, Path(), threads=1, tuned=tuned)
    assert asked.n_threads("openvino") == 1
