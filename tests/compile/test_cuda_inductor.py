"""Inductor for a GPU: a sentence where there is none, and all but the GPU tried on the CPU, in both precisions."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch._inductor import config

from tests.compile.tiny import SPEC, TinyScorer, film
from vadfast.compile.backends import Precision, Workshop
from vadfast.compile.backends.cuda_inductor import CUDAInductorBackend, CUDAInductorEngine
from vadfast.compile.gate import BOUNDS
from vadfast.errors import BackendError
from vadfast.runtime.engine import ENGINES


class OnCPU(CUDAInductorEngine):
    """The same engine, whose device is this machine's."""

    device = "cpu"


class OnCPUBackend(CUDAInductorBackend):
    """The same backend; timing kernels is a GPU's."""

    configs: Mapping[str, Any] = {}

    @property
    def engine(self) -> type[CUDAInductorEngine]:
        return OnCPU


@pytest.mark.parametrize("precision", CUDAInductorBackend.precisions)
def test_the_package_scores_as_eager_does(
    scorer: TinyScorer, tmp_path: Path, precision: Precision
) -> None:
    images = film(4, seed=0)
    frames = np.stack([images[:3], images[1:]])
    backend = OnCPUBackend()
    engine = backend.build(Workshop(scorer, SPEC, None, tmp_path), precision, 2)
    found = engine(frames)
    engine.close()
    assert (engine.backend, engine.precision, engine.batch) == ("cuda-inductor", precision, 2)
    with torch.inference_mode():
        components, heatmap = scorer(torch.from_numpy(frames))
    bounds = BOUNDS[precision]
    assert np.abs(found.components - components.numpy()).max() <= bounds.score_error["dB"]
    assert np.abs(found.heatmap - heatmap.numpy()).max() <= bounds.heatmap * heatmap.max().item()
    # Half precision is computed in half precision: the results are near, not equal.
    exact = np.array_equal(found.components, components.numpy())
    assert precision == "fp32" or not exact
    assert {p.dtype for p in scorer.parameters()} == {torch.float32}


def test_what_is_asked_of_inductor_it_knows() -> None:
    for name in CUDAInductorBackend.configs:
        assert isinstance(getattr(config, name), bool)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(tmp_path: Path) -> None:
    assert CUDAInductorBackend().can_run("fp16") == "cannot run here: torch finds no NVIDIA GPU"
    with pytest.raises(BackendError, match="torch finds no NVIDIA GPU; take another --backend"):
        CUDAInductorEngine.load(tmp_path / "model.pt2", precision="fp16", batch=1)


def test_a_package_has_its_precisions_and_its_class(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="precision must be fp32 or fp16 in an Inductor package"):
        CUDAInductorEngine.load(tmp_path / "model.pt2", precision="bf16", batch=1)
    module, _, name = ENGINES["cuda-inductor"].partition(":")
    assert (module, name) == (CUDAInductorEngine.__module__, CUDAInductorEngine.__name__)
