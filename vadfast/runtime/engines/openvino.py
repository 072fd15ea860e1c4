"""OpenVINO on the CPU: reads model.onnx directly and compiles it in memory for a fixed batch.

The precision is set explicitly, because OpenVINO on a bfloat16 CPU would otherwise change it
without being asked.
"""

from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from vadfast.errors import BackendError
from vadfast.runtime.engine import Outputs, shape_of_call
from vadfast.runtime.engines.signal_stack import signal_stack_kept

# Of what the model does not say in 8 bits itself.
_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32", "int8-bf16": "bf16"}


class OpenVINOEngine:
    """One compiled model and one inference request; not for several threads at once."""

    backend = "openvino"

    def __init__(self, request: Any, shape: tuple[int, ...], precision: str) -> None:
        """Use ``load``."""
        self._request = request
        self._shape = shape
        self.precision = precision
        self.batch = shape[0]

    @classmethod
    def load(
        cls,
        model_path: Path,
        *,
        precision: str,
        batch: int,
        threads: int | None = None,
        pinned: bool | None = None,
    ) -> Self:
        """Compiles ``model_path`` for this CPU; ``pinned`` says whether each thread keeps to one CPU, None leaves that to OpenVINO.

        Raises:
            BackendError: OpenVINO is absent, the CPU lacks the precision, or the model cannot be
                read.
        """
        try:
            import openvino
        except ImportError as error:
            raise BackendError(
                f"openvino cannot be imported ({error}); pip install openvino"
            ) from error
        with signal_stack_kept():
            request, window = _compiled(
                openvino.Core(), model_path, precision, batch, _told(threads, pinned)
            )
        return cls(request, (batch, *window), precision)

    def __call__(self, frames: npt.NDArray[np.uint8]) -> Outputs:
        """Scores ``frames`` uint8 [batch, T, H, W, 3]."""
        if frames.dtype != np.uint8 or frames.shape != self._shape:
            raise ValueError(
                f"frames must be uint8 {list(self._shape)}, got {frames.dtype} {list(frames.shape)}"
            )
        # OpenVINO reads the buffer in place; it is not touched again before the call returns.
        self._request.infer({"frames": np.ascontiguousarray(frames)}, share_inputs=True)
        return Outputs(
            self._request.get_tensor("components").data.astype(np.float32),  # astype copies
            self._request.get_tensor("heatmap").data.astype(np.float32),
        )

    def close(self) -> None:
        """Gives the compiled model back."""
        self._request = None


def _compiled(
    core: Any, model_path: Path, precision: str, batch: int, told: dict[str, Any]
) -> tuple[Any, list[int]]:
    """Returns a request, and the model's window [T, H, W, 3]."""
    if precision not in _HINTS:
        raise BackendError(f"precision must be one of {', '.join(_HINTS)}, got {precision!r}")
    if _HINTS[precision] == "bf16" and not can_bf16(core):
        raise BackendError(
            f"{precision} needs a CPU with avx512_bf16 or amx_bf16, this one has neither; use fp32"
        )
    properties: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        # One request on all cores: the frames of one camera come one after another.
        "PERFORMANCE_HINT": "LATENCY",
        **told,
    }
    try:
        model = core.read_model(model_path)
        frames = model.input("frames")
        window = [int(size.get_length()) for size in list(frames.partial_shape)[1:]]
        model.reshape({"frames": list(shape_of_call(model_path, batch, window))})
        request = core.compile_model(model, "CPU", properties).create_infer_request()
    except RuntimeError as error:
        raise BackendError(f"openvino cannot compile {model_path}: {_first_line(error)}") from error
    return request, window


def _told(threads: int | None, pinned: bool | None) -> dict[str, Any]:
    named = {"INFERENCE_NUM_THREADS": threads, "ENABLE_CPU_PINNING": pinned}
    return {name: value for name, value in named.items() if value is not None}


def can_bf16(core: Any) -> bool:
    """Says whether OpenVINO multiplies bfloat16 natively on this CPU."""
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _first_line(error: RuntimeError) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"
