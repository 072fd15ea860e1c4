"""Writes a model whose convolutions multiply 8-bit integers: explicit Q/DQ pairs, ranges from real windows.

    q = clip(round(x / scale) + zero_point),    scale = (max - min) / 255 of what a layer took on the calibration windows

Activations are uint8 with a zero point, weights int8 and symmetric with a scale per output channel; biases, sums, attention and the
score stay in float. What a layer takes is quantised and what it gives is not, so a ReLU sees values that were not rounded, and both
inputs of a concatenation share the one scale behind it.
"""

import contextlib
import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vadfast.errors import BackendError, first_line

_OPERATORS = ["Conv", "ConvTranspose"]


@dataclass(frozen=True)
class Quantiser:
    """A model with the ranges of its layers: writes it with any choice of them in 8 bits."""

    source: Path
    layers: tuple[str, ...]  # convolutions, in the order of the graph, by the name of their weights
    _nodes: dict[str, str]  # layer -> node of the graph
    _ranges: Any  # ONNX Runtime's TensorsData
    symmetric: bool

    @classmethod
    def calibrate(
        cls,
        source: Path,
        windows: Sequence[npt.NDArray[np.uint8]],
        folder: Path,
        *,
        symmetric: bool = False,
    ) -> "Quantiser":
        """Runs ``windows`` uint8 [1, T, H, W, 3] through ``source`` and keeps what each layer took.

        Args:
            source: the float32 model.
            windows: real ones. What they do not reach is cut off later; black and white, which any camera may send, is added.
            folder: where a copy of the model that also returns ranges lies meanwhile.
            symmetric: activations as int8 around 0 and biases in float, the only form that TensorRT reads; it loses a bit behind a ReLU.

        Raises:
            BackendError: the model has no convolution, or ONNX Runtime cannot run it.
        """
        import onnx
        from onnxruntime.quantization import CalibrationMethod, create_calibrator

        graph = onnx.load(source).graph
        nodes = {
            _layer(node): node.name for node in graph.node if node.op_type in _OPERATORS
        }  # fmt: skip
        if not nodes:
            raise BackendError("the model has no convolution to compute in 8 bits")
        # Its exceptions share no base but Exception, and come from a compiled module.
        try:
            with _quiet():
                calibrator = create_calibrator(
                    str(source),
                    _OPERATORS,
                    augmented_model_path=str(folder / "ranges.onnx"),
                    calibrate_method=CalibrationMethod.MinMax,
                )
                calibrator.collect_data(_Reader([*_extremes(windows[0]), *windows]))
                ranges = calibrator.compute_data()
        except Exception as error:
            raise BackendError(f"its ranges cannot be measured: {first_line(error)}") from error
        (folder / "ranges.onnx").unlink()
        return cls(source, tuple(nodes), nodes, ranges, symmetric)

    def write(self, target: Path, *, kept: Collection[str] = ()) -> None:
        """Writes the model with every layer but ``kept`` in 8 bits to ``target``."""
        import onnx
        from onnxruntime.quantization import QuantType
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

        options: dict[str, Any] = {
            "WeightSymmetric": True,
            # Else what a layer gives is rounded in front of its ReLU, and once more behind it.
            "OpTypesToExcludeOutputQuantization": _OPERATORS,
        }
        if self.symmetric:
            options |= {"ActivationSymmetric": True, "QuantizeBias": False}
        with _quiet():
            quantizer = QDQQuantizer(
                onnx.load(self.source),
                per_channel=True,
                reduce_range=False,
                weight_qType=QuantType.QInt8,
                activation_qType=QuantType.QInt8 if self.symmetric else QuantType.QUInt8,
                tensors_range=self._ranges,
                nodes_to_quantize=[],  # which means all
                nodes_to_exclude=[self._nodes[name] for name in kept],
                op_types_to_quantize=_OPERATORS,
                extra_options=options,
            )
            quantizer.quantize_model()
        target.parent.mkdir(parents=True, exist_ok=True)
        quantizer.model.save_model_to_file(str(target))


def _layer(node: Any) -> str:
    """The name of a convolution as its owner knows it: of the module that has the weights."""
    return str(node.input[1]).removesuffix(".weight")


def _extremes(window: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.uint8]]:
    return [np.full_like(window, value) for value in (0, 255)]


class _Reader:
    """Windows as ONNX Runtime's calibrators ask for them."""

    def __init__(self, windows: Sequence[npt.NDArray[np.uint8]]) -> None:
        self._windows = iter(windows)

    def get_next(self) -> dict[str, npt.NDArray[np.uint8]] | None:
        window = next(self._windows, None)
        return None if window is None else {"frames": np.ascontiguousarray(window)}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Its advice (to optimise first, which changes the names of layers) goes to the root logger: not in here."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
