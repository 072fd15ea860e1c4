"""The fused model as a CUDA graph: scores of eager float32, in both precisions, call after call, with other frames each time."""

import copy
from typing import Any

import numpy as np
import pytest
import torch

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU"),
]

# By precision: dB of a score, and part of the largest value of a heat map; those of vadfast.compile.gate.
BOUNDS = {"fp32": (0.01, 0.001), "fp16": (0.05, 0.02)}


@pytest.fixture
def scorer() -> Any:
    pytest.importorskip("pydantic", reason="machines that only check kernels do not have it")
    from vadfast.models import adl

    torch.manual_seed(0)
    return adl.Scorer(adl.Network(adl.ADLConfig(image_size=64, width=8)))


def _engine(scorer: Any, precision: str, batch: int) -> Any:
    from vadfast.compile.backends.cuda import CUDAEngine

    return CUDAEngine(scorer, _spec(), precision, batch)


def _spec() -> Any:
    from vadfast.runtime.manifest import InputSpec

    return InputSpec(n_frames=5, height=64, width=64)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("batch", [1, 4])
def test_it_gives_the_scores_of_eager(scorer: Any, precision: str, batch: int) -> None:
    from vadfast.models.eager import EagerEngine

    eager = EagerEngine(copy.deepcopy(scorer), _spec(), batch=batch)
    engine = _engine(scorer, precision, batch)
    rng = np.random.default_rng(0)
    decibels, part = BOUNDS[precision]
    answers = []
    for _ in range(5):
        frames = rng.integers(0, 256, (batch, 5, 64, 64, 3), dtype=np.uint8)
        wanted, got = eager(frames), engine(frames)
        assert np.abs(got.components - wanted.components).max() <= decibels
        error = np.abs(got.heatmap - wanted.heatmap).max() / wanted.heatmap.max()
        assert error <= part
        answers.append(got.components)
    assert len({a.tobytes() for a in answers}) == 5, "copies, of other frames each"
    engine.close()


def test_a_call_allocates_nothing_on_the_gpu(scorer: Any) -> None:
    engine = _engine(scorer, "fp16", 1)
    frames = np.zeros((1, 5, 64, 64, 3), np.uint8)
    engine(frames)
    before = torch.cuda.memory_stats()["allocation.all.allocated"]
    for _ in range(10):
        engine(frames)
    assert torch.cuda.memory_stats()["allocation.all.allocated"] == before
