"""A whole, valid bundle of bags whose model is simple enough to be computed by hand: a segment's score is 1 / (1 + e^-sum)."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from vadfast.compile.bundle import seal
from vadfast.compile.signing import open_key
from vadfast.runtime.bag_manifest import BagManifest, BagSpec
from vadfast.runtime.manifest import Artefact, Golden

N, C = 4, 3


def reference(bags: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Returns the scores [B, N] of ``bags`` [B, N, C]."""
    return (1 / (1 + np.exp(-bags.sum(axis=2)))).astype(np.float32)


def make_bag_bundle(path: Path, *, off: float = 0.0) -> Path:
    """Writes it at ``path``; ``off`` is added to what it was sealed with, as if the engine had changed since."""
    (path / "golden").mkdir(parents=True)
    graph = helper.make_graph(
        [
            helper.make_node("ReduceSum", ["bags", "last"], ["sums"], keepdims=0),
            helper.make_node("Sigmoid", ["sums"], ["scores"]),
        ],
        "bags",
        [helper.make_tensor_value_info("bags", TensorProto.FLOAT, ["batch", N, C])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", N])],
        [numpy_helper.from_array(np.array([2], np.int64), "last")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (path / "model.onnx").write_bytes(model.SerializeToString())
    onnx.checker.check_model(model)
    bags = np.random.default_rng(0).normal(size=(2, N, C)).astype(np.float32)
    np.save(path / "golden/bags.npy", bags)
    np.save(path / "golden/scores.npy", reference(bags) + np.float32(off))
    manifest = BagManifest(
        format_version=1,
        minimum_runtime="0.0.1",
        vadfast_version="0.1.0",
        created="2026-01-01T00:00:00Z",
        method="sta",
        checkpoint_sha256="0" * 64,
        input=BagSpec(n_segments=N, n_features=C),
        artefacts=(
            Artefact(
                backend="onnxruntime",
                precision="fp32",
                batch=1,
                path="model.onnx",
                versions={},
                median_ms=1.0,
                tolerance={"score": 1e-4},
            ),
        ),
        golden=Golden(frames="golden/bags.npy", components="golden/scores.npy"),
        gate={},
        files={},
    )
    seal(path, manifest, open_key(None))
    return path
