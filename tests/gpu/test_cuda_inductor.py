"""The package that Inductor compiles for this GPU: scores of eager float32, in both precisions, loaded again as from a bundle."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.gpu.test_cuda_engine import BOUNDS

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU"),
]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_it_gives_the_scores_of_eager(precision: Any, tmp_path: Path) -> None:
    pytest.importorskip("pydantic", reason="machines that only check kernels do not have it")
    from vadfast.compile.backends import Workshop
    from vadfast.compile.backends.cuda_inductor import CUDAInductorBackend, CUDAInductorEngine
    from vadfast.models import adl
    from vadfast.models.eager import EagerEngine
    from vadfast.runtime.manifest import InputSpec

    torch.manual_seed(0)
    scorer = adl.Scorer(adl.Network(adl.ADLConfig(image_size=64, width=8)))
    spec = InputSpec(n_frames=5, height=64, width=64)
    backend = CUDAInductorBackend()
    if refused := backend.can_run(precision):
        pytest.skip(refused)
    frames = np.random.default_rng(0).integers(0, 256, (2, 5, 64, 64, 3), dtype=np.uint8)
    wanted = EagerEngine(scorer, spec, batch=2)(frames)
    backend.build(Workshop(scorer, spec, None, tmp_path), precision, 2).close()
    assert next(scorer.parameters()).device.type == "cpu"  # a copy was moved
    engine = CUDAInductorEngine.load(
        tmp_path / backend.path(precision), precision=precision, batch=2
    )
    got = engine(frames)
    decibels, part = BOUNDS[precision]
    assert np.abs(got.components - wanted.components).max() <= decibels
    assert np.abs(got.heatmap - wanted.heatmap).max() <= part * wanted.heatmap.max()
