"""A whole, valid bundle of a few kilobytes whose model is simple enough to be computed by hand.

motion      mean |last frame - frame before it| in [0, 1], high = abnormal
brightness  mean of the last frame in [0, 1],              high = normal
heatmap     |last - before| averaged over channels and over 4 x 4 cells
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vadfast.compile.signing import open_key, sign

T, H, W, CELL = 5, 16, 24, 4

COMPONENTS = [
    {"name": "motion", "unit": "1", "high_is": "abnormal"},
    {"name": "brightness", "unit": "1", "high_is": "normal"},
]


def reference(
    frames: npt.NDArray[np.uint8],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Returns components [B, 2] and heatmap [B, h, w] of ``frames`` [B, T, H, W, 3]."""
    x = frames.astype(np.float32) / 255
    difference = np.abs(x[:, -1] - x[:, -2])  # [B, H, W, 3]
    components = np.stack([difference.mean((1, 2, 3)), x[:, -1].mean((1, 2, 3))], axis=1)
    cells = difference.mean(-1).reshape(-1, H // CELL, CELL, W // CELL, CELL)
    return components.astype(np.float32), cells.mean((2, 4)).astype(np.float32)


def write_model(path: Path) -> None:
    """Writes the ONNX model, with a dynamic batch."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def constant(name: str, values: Any, dtype: type) -> onnx.TensorProto:
        return numpy_helper.from_array(np.array(values, dtype), name)

    node = helper.make_node
    nodes = [
        node("Cast", ["frames"], ["f"], to=TensorProto.FLOAT),
        node("Div", ["f", "full"], ["x"]),
        node("Gather", ["x", "last"], ["now"], axis=1),
        node("Gather", ["x", "before"], ["then"], axis=1),
        node("Sub", ["now", "then"], ["s"]),
        node("Abs", ["s"], ["difference"]),
        node("ReduceMean", ["difference", "hwc"], ["motion"], keepdims=0),
        node("ReduceMean", ["now", "hwc"], ["brightness"], keepdims=0),
        node("Unsqueeze", ["motion", "one"], ["m1"]),
        node("Unsqueeze", ["brightness", "one"], ["b1"]),
        node("Concat", ["m1", "b1"], ["components"], axis=1),
        node("ReduceMean", ["difference", "c"], ["grey"], keepdims=0),
        node("Unsqueeze", ["grey", "one"], ["g1"]),
        node("AveragePool", ["g1"], ["h1"], kernel_shape=[CELL, CELL], strides=[CELL, CELL]),
        node("Squeeze", ["h1", "one"], ["heatmap"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, ["batch", T, H, W, 3])],
        [
            helper.make_tensor_value_info("components", TensorProto.FLOAT, ["batch", 2]),
            helper.make_tensor_value_info(
                "heatmap", TensorProto.FLOAT, ["batch", H // CELL, W // CELL]
            ),
        ],
        [
            constant("full", 255.0, np.float32),
            constant("last", T - 1, np.int64),
            constant("before", T - 2, np.int64),
            constant("hwc", [1, 2, 3], np.int64),
            constant("c", [3], np.int64),
            constant("one", [1], np.int64),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def manifest_values(**changes: Any) -> dict[str, Any]:
    """Returns a manifest as plain values, without its files; ``changes`` go to its top level."""
    chain = {"weights": {"motion": 1.0, "brightness": 0.0}}
    return {
        "format_version": 1,
        "minimum_runtime": "0.0.1",
        "vadfast_version": "0.1.0",
        "created": "2026-01-01T00:00:00Z",
        "method": "tiny",
        "checkpoint_sha256": "0" * 64,
        "input": {"n_frames": T, "height": H, "width": W, "fps": 10.0},
        "components": COMPONENTS,
        "heatmap": [H // CELL, W // CELL],
        "paper_chain": {"steps": [{"step": "minmax"}], **chain},
        "causal_chain": {
            "steps": [{"step": "robust_z"}, {"step": "exponential_mean", "half_life_frames": 2.0}],
            **chain,
        },
        "calibration": {
            "source": "made",
            "n_frames": 100,
            "components": {
                "motion": {"median": 0.02, "scale": 0.01},
                "brightness": {"median": 0.5, "scale": 0.1},
            },
            "score_quantiles": {"0.5": 0.0, "0.999": 3.0},
        },
        "alert": {
            "threshold": 4.0,
            "clear_threshold": 2.0,
            "raise_count": 2,
            "raise_window": 3,
            "clear_count": 2,
        },
        "artefacts": [artefact("openvino"), artefact("onnxruntime")],
        "golden": {"frames": "golden/frames.npy", "components": "golden/components.npy"},
        "gate": {},
        "race": [],
        **changes,
    }


def artefact(backend: str, **changes: Any) -> dict[str, Any]:
    """Returns one way to run the model, as plain values."""
    return {
        "backend": backend,
        "precision": "fp32",
        "batch": 1,
        "path": "model.onnx",
        "versions": {},
        "median_ms": 1.0,
        "tolerance": {"motion": 1e-5, "brightness": 1e-5},
        **changes,
    }


def make_bundle(path: Path, **changes: Any) -> Path:
    """Writes a valid bundle at ``path`` and returns it; ``changes`` as for ``manifest_values``."""
    (path / "golden").mkdir(parents=True)
    write_model(path / "model.onnx")
    frames = np.random.default_rng(0).integers(0, 256, (3, T, H, W, 3), np.uint8)
    np.save(path / "golden/frames.npy", frames)
    np.save(path / "golden/components.npy", reference(frames)[0])
    seal(path, manifest_values(**changes))
    return path


def seal(path: Path, values: dict[str, Any]) -> None:
    """Writes manifest, hash and signature for what lies in ``path`` (unless ``values`` has ``files``)."""
    own = ("manifest.json", "manifest.sha256", "SIGNATURE")
    files = {
        file.relative_to(path).as_posix(): {
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
            "size": file.stat().st_size,
        }
        for file in sorted(path.rglob("*"))
        if file.is_file() and file.name not in own
    }
    content = json.dumps({"files": files, **values}, indent=1).encode()
    (path / own[0]).write_bytes(content)
    (path / own[1]).write_text(
        f"{hashlib.sha256(content).hexdigest()}  {own[0]}\n", encoding="utf-8"
    )
    sign(path, content, open_key(None))
