"""Fixtures of the compile tests: one tiny scorer and four short runs of windows."""

import numpy as np
import pytest
import torch

from tests.compile.tiny import SPEC, TinyScorer, planned
from vadfast.compile.windows import Run, read_run


@pytest.fixture(scope="session")
def scorer() -> TinyScorer:
    """Random weights, always the same."""
    torch.manual_seed(0)
    return TinyScorer().eval()


@pytest.fixture(scope="session")
def runs() -> list[Run]:
    """Two labelled runs and two normal ones."""
    labels = np.repeat(np.array([0, 1, 0], np.uint8), 8)
    plans = [planned(24, seed=s, labels=labels) for s in (1, 2)] + [
        planned(20, seed=s) for s in (3, 4)
    ]
    read = [read_run(plan, SPEC) for plan in plans]
    assert all(read)
    return [run for run in read if run is not None]
