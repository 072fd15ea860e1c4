"""pytest's side of the suite: options, the desk that runs each contest once, and the replay for pytest-benchmark."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from bench.contest import FEWEST_ROUNDS, Contest, Results
from bench.device import is_quick
from bench.machine import folder_of, is_busy, load_average, this_machine
from bench.results import ROOT, Row, write_rows
from vadfast.atomic import write_text

ROUNDS, QUICK_ROUNDS = 15, FEWEST_ROUNDS


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

    def __init__(self, folder: Path | None, *, quick: bool) -> None:
        """``folder`` None: each row goes to the folder of its device."""
        self.folder, self.quick = folder, quick
        self._done: dict[tuple[str, str], Results] = {}
        self._before: dict[str, Any] = {}

    def begin(self) -> None:
        """Notes the load before a test: what it is afterwards is the test's own doing."""
        busy = "on a busy machine" if is_busy() else ""
        self._before = {"load": load_average(), "note": busy}

    def show(self, one: Contest, provider: str, benchmark: Any) -> None:
        """Hands the provider's times to pytest-benchmark, or skips or fails with the reason that it has none."""
        if one.long and self.quick:
            pytest.skip("takes minutes; run without --quick")
        key = (one.suite, one.case)
        if key not in self._done:
            rounds = QUICK_ROUNDS if self.quick else ROUNDS
            results = one.run(rounds, memory=not self.quick, command=self._command(one.suite))
            self._done[key] = results
            self.write([row for row, _ in results.values()])
        row, timing = self._done[key].get(provider, (None, None))
        if row is None:
            pytest.fail(f"{one.case} opened no provider {provider!r}")
        if timing is None:
            # A peer that is wrong is a finding, and stands in its row; one of ours must be right.
            (pytest.fail if row.target and row.met is False else pytest.skip)(row.note)
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
            "load": self._before["load"],
            "command": self._command(suite),
            "device": here.device(),
            "date": here.date,
            "commit": here.commit,
        }
        busy = self._before["note"]
        notes = ["; ".join(filter(None, (values.get("note", ""), busy))) for values in rows]
        self.write(
            [
                Row(**(common | values | {"note": note}))
                for values, note in zip(rows, notes, strict=True)
            ]
        )

    def write(self, rows: list[Row]) -> None:
        """Merges ``rows`` into the result files, with the machine beside them."""
        document = json.dumps(this_machine().to_json(), indent=1) + "\n"
        for device in dict.fromkeys(row.device for row in rows):
            folder = self.folder or ROOT / folder_of(device)
            write_rows([row for row in rows if row.device == device], folder)
            write_text(folder / "machine.json", document)

    def _command(self, suite: str) -> str:
        return f"python -m bench run {suite}{' --quick' if self.quick else ''}"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options that ``python -m bench run`` passes on."""
    group = parser.getgroup("bench")
    group.addoption("--results", type=Path, default=None, help="folder for the rows")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every benchmark reads the replay clock."""
    for item in items:
        item.add_marker(pytest.mark.benchmark(timer=REPLAY))


@pytest.fixture(scope="session")
def contest_desk(request: pytest.FixtureRequest) -> Desk:
    """Where contests leave their numbers; each looks at the load itself, once for all its providers."""
    option = request.config.getoption
    return Desk(option("--results"), quick=is_quick())


@pytest.fixture
def desk(contest_desk: Desk) -> Desk:
    """Where everything else leaves its numbers: the load is looked at before each test."""
    contest_desk.begin()
    return contest_desk
