"""Frame scores by the compiled core (csrc/core/frame_score.cpp and .cu), for arrays of NumPy and of every library that speaks DLPack.

This module needs no torch: it is the door of a runtime that has none.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from vadfast_kernels import _native


class Scores(NamedTuple):
    """NumPy's results on the host, the caller's arrays otherwise; None is what was not asked for. Shapes are those of ``op.py``."""

    error: Any = None
    psnr_db: Any = None
    channel: Any = None
    worst: Any = None
    heatmap: Any = None


def frame_score(
    predicted: Any,
    truth: Any,
    *,
    predicted_range: tuple[float, float] | None = None,
    truth_range: tuple[float, float] | None = None,
    weight: Any = None,
    patches: tuple[int, int] | None = None,
    heatmap: tuple[int, int] | None = None,
    out: Mapping[str, Any] | None = None,
    n_threads: int = 1,
    run: int = 0,
    scratch: Any = None,
    stream: int = 0,
) -> Scores:
    """Returns how far ``predicted`` is from ``truth``; the docstring of ``op.py`` has the equations.

    Args:
        predicted: frames [n, C, H, W] of any strides: uint8, float16, bfloat16 or float32.
        truth: the same shape on the same device, of any of these dtypes.
        predicted_range: the values of black and white; None: (0, 255) for uint8, (0, 1) for others.
        truth_range: the same of ``truth``.
        weight: float32 [n, rows, columns], contiguous; None: 1 everywhere.
        patches: rows and columns of the grid of ``worst``; None: no ``worst``.
        heatmap: rows and columns of the heat map; None: none.
        out: arrays for the results that are wanted, and no others are made: float64, ``heatmap`` float32, contiguous. CUDA needs it.
        n_threads: on the CPU, 256 at most; whole frames each. The bits do not depend on it.
        run: the address of a function that lends threads (``vad_run`` in csrc/include/vadfast/threads.h); 0: new ones.
        scratch: on CUDA a contiguous array there of at least ``scratch_bytes``, of any dtype.
        stream: on CUDA the address of the stream; the call does not wait for it.

    Raises:
        TypeError: a dtype that is not listed above, or something that is no array.
        ValueError: shapes, strides, ranges or grids that cannot be right; arrays on several devices; a result that is read-only, or
            overlaps an input or another result.
        RuntimeError: CUDA refuses, or this build has none (BackendError: there is no compiled module at all).

    >>> import numpy as np
    >>> truth = np.zeros((1, 2, 2, 3), np.uint8).transpose(0, 3, 1, 2)      # a camera's pixels, as [n, C, H, W]
    >>> frame_score(np.full((1, 3, 2, 2), 0.1, np.float32), truth).psnr_db.round(4)
    array([20.])
    """
    if out is not None and not isinstance(out, Mapping):
        raise TypeError(
            f"frame_score: out must be a dict of arrays by their names, or None, got {type(out).__name__}"
        )
    made = _native.module().frame_score(
        predicted,
        truth,
        predicted_range=predicted_range,
        truth_range=truth_range,
        weight=weight,
        patches=patches,
        heatmap=heatmap,
        out=None if out is None else dict(out),
        n_threads=n_threads,
        run=run,
        scratch=scratch,
        stream=stream,
    )
    return Scores(**made)


def scratch_bytes(
    predicted: Any,
    truth: Any,
    *,
    patches: tuple[int, int] | None = None,
    heatmap: tuple[int, int] | None = None,
) -> int:
    """Returns the size of the scratch that ``frame_score`` wants on CUDA; raises what it raises."""
    size: int = _native.module().frame_score_scratch(
        predicted, truth, patches=patches, heatmap=heatmap
    )
    return size
