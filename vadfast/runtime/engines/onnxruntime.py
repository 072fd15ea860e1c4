"""ONNX Runtime on the CPU, in float32 or the 8 bits of a quantised model: the engine that runs wherever its wheel installs."""

from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from vadfast.errors import BackendError
from vadfast.runtime.engine import Outputs, shape_of_call

_OUTPUTS = ["components", "heatmap"]


class ONNXRuntimeEngine:
    """One inference session, called with a fixed batch."""

    backend = "onnxruntime"

    def __init__(self, session: Any, shape: tuple[int, ...], precision: str) -> None:
        """Use ``load``."""
        self.precision = precision
        self._session = session
        self._shape = shape
        self.batch = shape[0]

    @classmethod
    def load(
        cls, model_path: Path, *, precision: str, batch: int, threads: int | None = None
    ) -> Self:
        """Prepares ``model_path`` for this CPU.

        Raises:
            BackendError: ONNX Runtime is absent, ``precision`` is neither fp32 nor int8, or the model
                cannot be read.
        """
        try:
            import onnxruntime
        except ImportError as error:
            raise BackendError(
                f"onnxruntime cannot be imported ({error}); pip install onnxruntime"
            ) from error
        if precision not in ("fp32", "int8"):
            raise BackendError(
                f"precision must be fp32 or int8 on the CPU of ONNX Runtime, got {precision!r}"
            )
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors only: they arrive as exceptions, stderr stays ours
        if threads is not None:
            options.intra_op_num_threads = threads
        # Its exceptions share no base but Exception, and come from a compiled module.
        try:
            session = onnxruntime.InferenceSession(
                str(model_path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise BackendError(f"onnxruntime cannot read {model_path}: {error}") from error
        inputs = {value.name: value.shape for value in session.get_inputs()}
        if list(inputs) != ["frames"]:
            raise BackendError(f"{model_path}: its input must be frames, got {', '.join(inputs)}")
        return cls(session, shape_of_call(model_path, batch, inputs["frames"][1:]), precision)

    def __call__(self, frames: npt.NDArray[np.uint8]) -> Outputs:
        """Scores ``frames`` uint8 [batch, T, H, W, 3]."""
        if frames.dtype != np.uint8 or frames.shape != self._shape:
            raise ValueError(
                f"frames must be uint8 {list(self._shape)}, got {frames.dtype} {list(frames.shape)}"
            )
        # Each run allocates its outputs anew, so they are ours to keep.
        components, heatmap = self._session.run(_OUTPUTS, {"frames": np.ascontiguousarray(frames)})
        return Outputs(components, heatmap)

    def close(self) -> None:
        """Gives the session back."""
        self._session = None
