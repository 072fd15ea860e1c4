"""The operator's tensors through the compiled core; ``native.py`` is that door, and knows no torch."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from vadfast_kernels._threads import lent
from vadfast_kernels.frame_score import native

# 20 us is what a thread takes to start or to wake: fewer bytes than these are done before it has.
_BYTES_A_THREAD = 1 << 19


def forward(
    predicted: Tensor,
    truth: Tensor,
    weight: Tensor | None,
    ranges: Sequence[float],
    cells: Sequence[int],
    out: Mapping[str, Tensor],
) -> None:
    """Fills ``out``."""
    grids: dict[str, Any] = {"patches": (cells[0], cells[1]), "heatmap": (cells[2], cells[3])}
    n_bytes = predicted.nbytes + truth.nbytes
    where: dict[str, Any] = lent()
    where["n_threads"] = min(where["n_threads"], 1 + n_bytes // _BYTES_A_THREAD)
    if predicted.is_cuda:
        size = native.scratch_bytes(_array(predicted), _array(truth), **grids)
        where = {
            "scratch": predicted.new_empty(size // 8, dtype=torch.float64),
            "stream": torch.cuda.current_stream(predicted.device).cuda_stream,
        }
    with torch.cuda.device(predicted.device if predicted.is_cuda else -1):
        native.frame_score(
            _array(predicted),
            _array(truth),
            predicted_range=(ranges[0], ranges[1]),
            truth_range=(ranges[2], ranges[3]),
            weight=None if weight is None else _array(weight),
            out={name: _array(x) for name, x in out.items()},
            **grids,
            **where,
        )


def _array(x: Tensor) -> Any:
    """``x`` as NumPy's where NumPy has its kind, which takes a quarter of the time of DLPack; without its gradient, which stays in torch."""
    x = x.detach()
    return x if x.is_cuda or x.dtype == torch.bfloat16 else x.numpy()
