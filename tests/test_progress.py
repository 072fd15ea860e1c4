"""Progress in a log: a line every ten seconds with rate and time left, and none for short work."""

import pytest

from vadfast import progress


class _Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    clock = _Clock()
    monkeypatch.setattr(progress.time, "monotonic", clock.monotonic)
    return clock


def _said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_a_line_every_ten_seconds(clock: _Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress.steps("score", 1000, unit="frames") as bar:
        for _ in range(200):
            clock.now += 0.125  # exact in binary
            bar.advance()
    lines = _said(capsys)
    assert lines == [
        "score: 80 of 1,000 frames, about 115 s left, 8 frames/s",
        "score: 160 of 1,000 frames, about 105 s left, 8 frames/s",
    ]


def test_short_work_is_silent(clock: _Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress.steps("race", 5) as bar:
        for _ in range(5):
            clock.now += 1.9
            bar.advance()
    assert _said(capsys) == []


def test_a_resumed_task_counts_only_its_own_steps_for_the_rate(
    clock: _Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress.steps("training", 400, first=200) as bar:
        clock.now += 20
        bar.update(300, detail="loss [0.5]")
    assert _said(capsys) == [
        "training: 300 of 400 steps, about 20 s left, 5 steps/s, loss [0.5]",
    ]


def test_steps_that_come_up_later_are_counted(
    clock: _Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress.steps("gate", 10) as bar:
        bar.update(10)
        bar.expect(10)
        clock.now += 10
        bar.advance(5)
    assert _said(capsys) == ["gate: 15 of 20 steps, about 3 s left, 1.5 steps/s"]


def test_without_a_total_there_is_no_time_left(
    clock: _Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress.steps("score", None, unit="frames") as bar:
        bar.rename("score gate.mkv")
        clock.now += 10
        bar.update(50)
        clock.now += 10
        bar.update(100, total=200)
    assert _said(capsys) == [
        "score gate.mkv: 50 frames, 5 frames/s",
        "score gate.mkv: 100 of 200 frames, about 20 s left, 5 frames/s",
    ]
