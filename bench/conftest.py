"""pytest's side of the suite: options, the desk that runs each contest once, and the replay for pytest-benchmark."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from bench.contest import Contest
from bench.machine import load_average, this_machine
from bench.results import ROOT, Row, write_rows
from vadfast.atomic import write_text
from vadfast.compile.race import Timing

ROUNDS, QUICK_ROUNDS = 15, 5


class Replay:
    """A clock that makes pytest-benchmark see the given durations instead of measuring its own."""

    def __init__(self) -> None:
        self._now = 0.0
        self._due: Iterator[float] = iter(())

    def load(self, seconds: Sequence[float]) -> None:
        """The next readings come in pairs, each as far apart as one of ``seconds``."""
        self._due = (step for s in seconds for step in (0.0, s))

    def __call__(self) -> float:
        self._now += next(self._due, 1e-9)
        return self._now


REPLAY = Replay()


class Desk:
    """Runs each contest when its first provider is asked for, and writes its rows at once."""

    def __init__(self, folder: Path, *, quick: bool) -> None:
        self.folder, self.quick = folder, quick
        self._done: dict[tuple[str, str], dict[str, tuple[Row, Timing | None]]] = {}

    def show(self, one: Contest, provider: str, benchmark: Any) -> None:
        """Hands the provider's times to pytest-benchmark, or skips or fails with the reason that it has none."""
        key = (one.suite, one.case)
        if key not in self._done:
            self._done[key] = one.run(QUICK_ROUNDS if self.quick else ROUNDS, memory=not self.quick)
            self.write([row for row, _ in self._done[key].values()])
        row, timing = self._done[key].get(provider, (None, None))
        if row is None:
            pytest.fail(f"{one.case} opened no provider {provider!r}")
        if timing is None:
            (pytest.fail if row.note.startswith("wrong") else pytest.skip)(row.note)
        REPLAY.load([ms / 1e3 for ms in timing.round_ms])
        benchmark.group, benchmark.name = f"{one.suite}: {one.case}", provider
        benchmark.extra_info.update(verified=row.verified, ratio=row.ratio, load=row.load)
        benchmark.pedantic(lambda: None, rounds=len(timing.round_ms))

    def record(self, suite: str, case: str, rows: Sequence[dict[str, Any]]) -> None:
        """Writes a case that is no contest: the memory of a long run, an AUC, a time to the first score."""
        here = this_machine()
        common: dict[str, Any] = {
            "suite": suite,
            "case": case,
            "shape": "",
            "dtype": "",
            "load": load_average(),
            "command": f"python -m bench run {suite}",
            "device": here.device,
            "date": here.date,
            "commit": here.commit,
        }
        self.write([Row(**(common | values)) for values in rows])

    def write(self, rows: list[Row]) -> None:
        """Merges ``rows`` into the result files, with the machine beside them."""
        write_rows(rows, self.folder)
        document = json.dumps(this_machine().to_json(), indent=1)
        write_text(self.folder / "machine.json", document + "\n")


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options that ``python -m bench run`` passes on."""
    group = parser.getgroup("bench")
    group.addoption("--quick", action="store_true", help="fewer rounds, no suite over a minute")
    group.addoption("--results", type=Path, default=None, help="folder for the rows")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every benchmark reads the replay clock."""
    for item in items:
        item.add_marker(pytest.mark.benchmark(timer=REPLAY))


@pytest.fixture(scope="session")
def desk(request: pytest.FixtureRequest) -> Desk:
    """Where suites leave their numbers."""
    folder = request.config.getoption("--results") or ROOT / this_machine().folder
    return Desk(folder, quick=request.config.getoption("--quick"))
