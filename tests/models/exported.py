"""A scorer as a file: what eager and the engines make of the same windows."""

from pathlib import Path

import numpy as np
import onnx
from torch import nn

from vadfast.compile.export import export_onnx
from vadfast.compile.gate import BOUNDS
from vadfast.models.eager import EagerEngine
from vadfast.runtime.engines.onnxruntime import ONNXRuntimeEngine
from vadfast.runtime.engines.openvino import OpenVINOEngine
from vadfast.runtime.manifest import Component, InputSpec


def assert_engines_agree(
    scorer: nn.Module, spec: InputSpec, components: tuple[Component, ...], path: Path
) -> None:
    """Fails where ONNX Runtime or OpenVINO leaves the gate's bounds for float32, in one batch of three and window by window."""
    shape = (3, spec.n_pictures, spec.height, spec.width, 3)
    frames = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    wanted = EagerEngine(scorer, spec, batch=3)(frames)
    assert wanted.components.shape == (3, len(components))
    assert export_onnx(scorer, spec, path) == wanted.heatmap.shape[1:]
    assert {o.domain for o in onnx.load(path).opset_import} == {""}  # standard operators only
    bounds = BOUNDS["fp32"]
    for kind in (ONNXRuntimeEngine, OpenVINOEngine):
        for batch in (1, 3):
            engine = kind.load(path, precision="fp32", batch=batch)
            for i in range(0, 3, batch):
                found, window = engine(frames[i : i + batch]), slice(i, i + batch)
                error = np.abs(found.components - wanted.components[window]).max(axis=0)
                for component, off in zip(components, error, strict=True):
                    assert off <= bounds.score_error[component.unit], (kind, component.name)
                heatmap = wanted.heatmap[window]
                off = np.abs(found.heatmap - heatmap).max()
                assert off <= bounds.heatmap * heatmap.max(), kind
