"""Targets: which engines each races, and that one that cannot run here is said before any work."""

from pathlib import Path

import pytest
import torch

from vadfast.compile import build_bundle
from vadfast.compile.backends import backends_of
from vadfast.compile.backends.cuda import CUDAEngine
from vadfast.compile.plan import Options
from vadfast.errors import BackendError


def test_each_target_races_its_own_and_eager() -> None:
    names = {t: {b.name for b in backends_of(t)} for t in ("auto", "cpu", "tensorrt", "cuda")}
    assert names["tensorrt"] == {"eager", "tensorrt"}
    assert names["cuda"] == {"eager", "cuda"}
    assert names["cpu"] == {"eager", "inductor", "mnn", "onnxruntime", "openvino"}
    assert names["auto"] == names["cpu"] | {"tensorrt", "cuda"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_here_is_said(run: Path, tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="--target: cuda cannot run here: torch finds no NVIDIA"):
        build_bundle(run, tmp_path / "a.vad", Options(target="cuda"))
    assert not (tmp_path / "a.vad").exists()
    with pytest.raises(BackendError, match="torch finds no NVIDIA GPU; take another --backend"):
        CUDAEngine.load(tmp_path / "model.safetensors", precision="fp16", batch=1)
