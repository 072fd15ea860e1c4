"""A teacher's network in ONNX Runtime; opened once however many films it sees."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from vadfast.errors import BackendError, UsageError


def open_session(path: str, *, key: str, source: str, default: str) -> Any:
    """Returns the session of the file at ``path``.

    Raises:
        UsageError: there is no such file; the message says where to get one, and what needs none.
        BackendError: ONNX Runtime cannot read it.
    """
    if not Path(path).is_file():
        raise UsageError(
            f"{key}: {path} must be a network as ONNX, there is no such file; get one from {source}, "
            f"or leave {key} out: {default}"
        )
    return _session(path)


@lru_cache(maxsize=4)
def _session(path: str) -> Any:
    import onnxruntime as ort

    try:
        return ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    # ONNX Runtime's errors share no base but Exception.
    except Exception as error:
        first = str(error).strip().splitlines()[0]
        raise BackendError(
            f"{path}: ONNX Runtime cannot read it ({first}); export it again"
        ) from error
