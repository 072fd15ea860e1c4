"""Clips read ahead: what the reader meets reaches the consumer, and a consumer that goes away is not waited for."""

import threading
import time
from typing import Any

import pytest

from vadfast.data.clips import prefetch


class _Fails:
    """A sampler whose item ``at`` cannot be read."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.reached = threading.Event()

    def batch(self, step: int) -> int:
        if step == self.at:
            self.reached.set()
            raise OSError("the disk is gone")
        return step


def test_a_reader_that_fails_behind_a_full_queue_does_not_hold_a_consumer_that_closes() -> None:
    sampler: Any = _Fails(3)
    batches = prefetch(sampler, 0, 10)
    assert next(batches) == 0  # 1 and 2 fill the queue; the fault of 3 has no place in it
    assert sampler.reached.wait(5)
    time.sleep(0.05)
    closing = threading.Thread(target=batches.close, daemon=True)
    closing.start()
    closing.join(5)
    assert not closing.is_alive(), "the reader waits for a place that nobody will make"


def test_a_fault_is_raised_after_what_was_read_before_it() -> None:
    sampler: Any = _Fails(3)
    batches = prefetch(sampler, 0, 10)
    assert [next(batches) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="the disk is gone"):
        next(batches)
