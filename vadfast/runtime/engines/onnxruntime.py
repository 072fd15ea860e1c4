"""ONNX Runtime on the CPU, float32: the engine that runs wherever its wheel installs."""

from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from vadfast.errors import BackendError
from vadfast.runtime.engine import Outputs

_OUTPUTS = ["components", "heatmap"]


class ONNXRuntimeEngine:
    """One inference session, called with a fixed batch."""

    backend = "onnxruntime"
    precision = "fp32"

    def __init__(self, session: Any, shape: tuple[int, ...]) -> None:
        """Use ``load``."""
        self._session = session
        self._shape = shape
        self.batch = shape[0]

    @classmethod
    def load(
        cls, model_path: Path, *, precision: str, batch: int, threads: int | None = None
    ) -> Self:
        """Prepares ``model_path`` for this CPU.

        Raises:
            BackendError: ONNX Runtime is absent, ``precision`` is not fp32, or the model cannot be
                read.
        """
        try:
            import onnxruntime
        except ImportError as error:
            raise BackendError(
                f"onnxruntime cannot be imported ({error}); pip install onnxruntime"
            ) from error
        if precision != "fp32":
            raise BackendError(
                f"precision must be fp32 on the CPU of ONNX Runtime, got {precision!r}"
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
        return cls(session, (batch, *(int(size) for size in inputs["frames"][1:])))

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
