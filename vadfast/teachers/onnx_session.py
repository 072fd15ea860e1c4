"""A teacher's network in ONNX Runtime: one picture in; opened once however many films it sees."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vadfast.errors import BackendError, UsageError, first_line

_WANTED = "one float32 picture [1, 3, h, w] or [3, h, w]"


@dataclass(frozen=True, slots=True)
class Network:
    """A network whose only input is an RGB picture of numbers; a side that its file leaves open is None."""

    path: str
    session: Any
    name: str  # of the input
    rank: int  # 3 or 4
    height: int | None
    width: int | None

    def run(self, picture: np.ndarray) -> list[np.ndarray]:
        """Returns what the network gives for ``picture``, float32 [h, w, 3], resized where its file fixes a side.

        Raises:
            BackendError: it cannot run on a picture of this size.
        """
        size = (self.width or picture.shape[1], self.height or picture.shape[0])
        x = cv2.resize(picture, size, interpolation=cv2.INTER_AREA).transpose(2, 0, 1)
        x = np.ascontiguousarray(x[None] if self.rank == 4 else x)
        # ONNX Runtime's errors share no base but Exception.
        try:
            found: list[np.ndarray] = self.session.run(None, {self.name: x})
        except Exception as error:
            raise BackendError(
                f"{self.path}: must take {_WANTED}, cannot run on {list(x.shape)} ({first_line(error)}); "
                "export it for this size, or with h and w left open"
            ) from error
        return found


def open_network(path: str, *, key: str, source: str, default: str) -> Network:
    """Returns the network of the file at ``path``.

    Raises:
        UsageError: there is no such file; the message says where to get one, and what needs none.
        BackendError: ONNX Runtime cannot read it, or it takes something else than a picture.
    """
    if not Path(path).is_file():
        raise UsageError(
            f"{key}: {path} must be a network as ONNX, there is no such file; get one from {source}, "
            f"or leave {key} out: {default}"
        )
    session = _session(path)
    inputs = session.get_inputs()
    shape = list(inputs[0].shape) if len(inputs) == 1 else []
    leading = {4: [1, 3], 3: [3]}.get(len(shape))
    # A side that is not a number is open: it may be a name, or nothing.
    if (
        leading is None
        or inputs[0].type != "tensor(float)"
        or any(isinstance(n, int) and n != m for n, m in zip(shape, leading, strict=False))
    ):
        takes = ", ".join(f"{i.type} {list(i.shape)}" for i in inputs)
        raise BackendError(
            f"{path}: must take {_WANTED}, takes {takes or 'nothing'}; get one from {source}, "
            f"or leave {key} out: {default}"
        )
    height, width = (n if isinstance(n, int) else None for n in shape[-2:])
    return Network(path, session, inputs[0].name, len(shape), height, width)


@lru_cache(maxsize=4)
def _session(path: str) -> Any:
    import onnxruntime as ort

    try:
        return ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    # ONNX Runtime's errors share no base but Exception.
    except Exception as error:
        raise BackendError(
            f"{path}: ONNX Runtime cannot read it ({first_line(error)}); export it again"
        ) from error
