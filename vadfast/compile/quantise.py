"""Writes a model whose convolutions multiply 8-bit integers: explicit Q/DQ pairs, ranges from real windows.

    q = clip(round(x / scale) + zero_point),    scale = (max - min) / 255 of what a layer took on the calibration windows

Activations are uint8 with a zero point, weights int8 and symmetric with a scale per output channel; biases, sums, attention and the
score stay in float. What a layer takes is quantised and what it gives is not, so a ReLU sees values that were not rounded, and both
inputs of a concatenation share the one scale behind it. Layers that take frames stay in float: pixels in [-1, 1] lie between the steps
of 8 bits, half a step off everywhere, which cost 0.2 dB (ADL on Ped2, width 8, 128 px).
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
    # Of those that could be in 8 bits, by the name of their weights, the nodes that have them; in the order of the graph.
    _nodes: dict[str, list[str]]
    _float: list[str]  # nodes that stay in float whatever is asked
    _ranges: Any  # ONNX Runtime's TensorsData
    symmetric: bool

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that could be in 8 bits, in the order of the graph."""
        return tuple(self._nodes)

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
            windows: real ones. What no layer reached with them is cut off later.
            folder: where a copy of the model that also returns ranges lies meanwhile.
            symmetric: activations as int8 around 0 and biases in float, the only form that TensorRT reads; it loses a bit behind a ReLU.

        Raises:
            BackendError: the model has no convolution, or ONNX Runtime cannot run it.
        """
        import onnx

        graph = onnx.load(source).graph
        raw = _before_any_layer(graph)
        nodes: dict[str, list[str]] = {}
        in_float = []
        for node in graph.node:
            if node.op_type in _OPERATORS and node.input[0] in raw:
                in_float.append(node.name)
            elif node.op_type in _OPERATORS:
                nodes.setdefault(_layer(node), []).append(node.name)
        if not nodes:
            raise BackendError("the model has no convolution behind its first to compute in 8 bits")
        # Its exceptions share no base but Exception, and come from a compiled module.
        try:
            ranges = _ranges(source, windows, folder)
        except Exception as error:
            raise BackendError(f"its ranges cannot be measured: {first_line(error)}") from error
        return cls(source, nodes, in_float, ranges, symmetric)

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
                nodes_to_exclude=[*self._float, *(n for layer in kept for n in self._nodes[layer])],
                op_types_to_quantize=_OPERATORS,
                extra_options=options,
            )
            quantizer.quantize_model()
        target.parent.mkdir(parents=True, exist_ok=True)
        quantizer.model.save_model_to_file(str(target))


def _layer(node: Any) -> str:
    """The name of a convolution as its owner knows it: of the module that has the weights."""
    return str(node.input[1]).removesuffix(".weight")


def _ranges(source: Path, windows: Sequence[npt.NDArray[np.uint8]], folder: Path) -> Any:
    """What each layer takes and gives, from the least to the largest value."""
    from onnxruntime.quantization import CalibrationMethod, create_calibrator

    with _quiet():
        calibrator = create_calibrator(
            str(source),
            _OPERATORS,
            augmented_model_path=str(folder / "ranges.onnx"),
            calibrate_method=CalibrationMethod.MinMax,
        )
        calibrator.collect_data(_Reader(windows))
        ranges = calibrator.compute_data()
    (folder / "ranges.onnx").unlink()
    return ranges


def _before_any_layer(graph: Any) -> set[str]:
    """The tensors that are frames, scaled and cut, and nothing learned."""
    found = {"frames"}
    constant = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type not in (*_OPERATORS, "MatMul", "Gemm") and all(
            name in found or name in constant for name in node.input if name
        ):
            found.update(node.output)
    return found


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
