"""MNN on the CPU, float32: its 3x3 convolutions are Winograd's, which need a fraction of the multiplications of the others."""

from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from vadfast.errors import BackendError
from vadfast.runtime.engine import Outputs, n_cpus, shape_of_call
from vadfast.runtime.engines.quiet_stdout import quiet_stdout

_OUTPUTS = ("components", "heatmap")


class MNNEngine:
    """One session with a fixed batch; not for several threads at once.

    The session interface and not MNN's newer modules, because only it lets other Python threads run meanwhile, and decoding
    is one of them.
    """

    backend = "mnn"
    precision = "fp32"

    def __init__(self, interpreter: Any, session: Any, shape: tuple[int, ...]) -> None:
        """Use ``load``."""
        self._interpreter, self._session = interpreter, session
        self._shape = shape
        self.batch = shape[0]
        self._frames: Any = _Host(shape, np.uint8)
        self._results = {
            name: _Host(interpreter.getSessionOutput(session, name).getShape(), np.float32)
            for name in _OUTPUTS
        }

    @classmethod
    def load(
        cls, model_path: Path, *, precision: str, batch: int, threads: int | None = None
    ) -> Self:
        """Prepares ``model_path`` (converted from model.onnx at compile time) for this CPU.

        Raises:
            BackendError: MNN is absent, ``precision`` is not fp32, or the model cannot be read.
        """
        with quiet_stdout("MNN"):  # it says what the CPU supports
            try:
                import MNN
            except ImportError as error:
                raise BackendError(f"MNN cannot be imported ({error}); pip install MNN") from error
        if precision != "fp32":
            raise BackendError(f"precision must be fp32 on the CPU of MNN, got {precision!r}")
        options = {
            "backend": "CPU",
            "precision": "normal",  # float32 on x86; "low" would be half precision where there is any
            "numThread": threads or n_cpus(),
            "saveTensors": _OUTPUTS,
        }
        # Its errors share no base but Exception, and come from a compiled module.
        try:
            interpreter = MNN.Interpreter(str(model_path))
            session = interpreter.createSession(options)
            frames = interpreter.getSessionInput(session, "frames")
            window = [int(size) for size in frames.getShape()[1:]]
            shape = shape_of_call(model_path, batch, window)
            interpreter.resizeTensor(frames, shape)
            interpreter.resizeSession(session)
            found = {n: interpreter.getSessionOutput(session, n).getShape() for n in _OUTPUTS}
        except BackendError:
            raise
        except Exception as error:
            raise BackendError(f"mnn cannot read {model_path}: {error}") from error
        # An operator that it misreads leaves the shapes behind it undone, and says nothing.
        for name, size in found.items():
            if len(size) == 0 or size[0] != batch or min(size) < 1:
                raise BackendError(
                    f"mnn misreads {model_path}: {name} must begin with a batch of {batch}, got {list(size)}"
                )
        return cls(interpreter, session, shape)

    def __call__(self, frames: npt.NDArray[np.uint8]) -> Outputs:
        """Scores ``frames`` uint8 [batch, T, H, W, 3]."""
        if frames.dtype != np.uint8 or frames.shape != self._shape:
            raise ValueError(
                f"frames must be uint8 {list(self._shape)}, got {frames.dtype} {list(frames.shape)}"
            )
        np.copyto(self._frames.array, frames)
        self._interpreter.getSessionInput(self._session, "frames").copyFrom(self._frames.tensor)
        self._interpreter.runSession(self._session)
        for name, host in self._results.items():
            self._interpreter.getSessionOutput(self._session, name).copyToHostTensor(host.tensor)
        return Outputs(*(host.array.copy() for host in self._results.values()))

    def close(self) -> None:
        """Gives the session and its memory back."""
        self._session = self._interpreter = self._frames = None
        self._results = {}


class _Host:
    """Memory that frames are copied from, or results to, made once: ``tensor`` as MNN has it, ``array`` a view of it."""

    def __init__(self, shape: tuple[int, ...], dtype: type[np.uint8] | type[np.float32]) -> None:
        import MNN

        kind = MNN.Halide_Type_Uint8 if dtype is np.uint8 else MNN.Halide_Type_Float
        order = MNN.Tensor_DimensionType_Caffe  # the axes as they are, no channels to reorder
        self.tensor: Any = MNN.Tensor(tuple(shape), kind, np.zeros(shape, dtype), order)
        # It goes with the tensor, whose memory it is.
        self.array: npt.NDArray[Any] = self.tensor.getNumpyData().reshape(shape)
