r"""Squared errors of predicted frames: a frame's error and PSNR, each channel's error, the worst patch, and a heat map.

With P and T in units of white - black, and a weight w that is 1 unless one is given::

    e[n, c, y, x]  =  w[n, y, x] (P[n, c, y, x] - T[n, c, y, x])^2
    error[n]       =  mean of e over c, y, x
    psnr_db[n]     =  10 log10(1 / max(error[n], 1e-10))
    channel[n, c]  =  mean of e over y, x
    worst[n]       =  max over the patches of the mean of e over c and the patch
    heatmap[n]     =  mean of e over c and each cell

Source: PSNR as in Liu et al., "Future Frame Prediction for Anomaly Detection", CVPR 2018, eq. 10, with the peak of the authors' code, 1 for
frames in [0, 1], where the paper has the maximum of the prediction. The worst patch is MTL's score (arXiv 2210.07697); a weight, its
cells repeated, is STD's (Chang et al., Pattern Recognition 2022: the distance to cluster centres multiplies the error).

Shapes (any strides; grids of any size: cell (i, j) is rows [i H / rows, (i + 1) H / rows), rounded down, columns alike)

    predicted, truth         [N, C, H, W]
    weight                   [N, rows, columns]
    error, psnr_db, worst    [N]
    channel                  [N, C]
    heatmap                  [N, heatmap rows, heatmap columns]

Numbers
    dtype       predicted and truth each uint8, float16, bfloat16 or float32, float64 on the backend ``torch``; results float64, the heat
                map float32. Autocast changes nothing.
    range       ``predicted_range`` and ``truth_range`` are the values of black and white; None is (0, 255) for uint8, (0, 1) for others.
    arithmetic  differences in float32; sums in float64, after a few in float32. With a float64 input all in float64.
    memory      nothing beyond the results; on CUDA float64 sums of every row.
    gradient    none: this is for evaluation. Asked for one, it raises.
    layout      planes, pixels (channels last), and planes against the pixels of a uint8 frame are read in order; others are right and slower.
    not finite  a NaN or infinity makes every mean that it is part of not finite, so its frame's error, psnr_db and worst, and no other frame's.
    repeatable  native: the same bits on every CPU, for any number of threads; on CUDA for one GPU model. No atomics.

Backends, in the order that ``backend="auto"`` tries them

    native    CPU, and CUDA where the build has it    native_impl.py, by csrc/core/frame_score.cpp and .cu
    torch     any device                              torch_impl.py
    (reference.py, in NumPy, is for tests: what the other two must equal; native.py is the same without torch)

Native pays, by this count (64 x 3 x 256 x 256 float32 against uint8; MB = 10^6 bytes, each operation reading its inputs and writing its
output once): 63 MB for native, which is the least; 667 MB for eager, in ten operations.

Raises:
    ValueError    wrong rank; shapes that do not agree; an empty tensor; a grid larger than the frame; a range without extent; an unknown
                  backend.
    TypeError     a dtype not listed above; devices differ.
    BackendError  the named backend cannot run; the message says why.

Example:
    >>> truth = torch.zeros(1, 1, 2, 4, dtype=torch.uint8)
    >>> predicted = torch.full((1, 1, 2, 4), 0.1)
    >>> predicted[..., 3] = 0.5
    >>> score = frame_score(predicted, truth, heatmap=(1, 4))
    >>> score.heatmap
    tensor([[[0.0100, 0.0100, 0.0100, 0.2500]]])
    >>> frame_score(predicted[..., :3], truth[..., :3]).psnr_db.round(decimals=3)
    tensor([20.], dtype=torch.float64)
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from vadfast_kernels import _native
from vadfast_kernels._dtypes import FLOATS
from vadfast_kernels._op import Backend, Operator

_NAME = "frame_score"
_DTYPES = (torch.uint8, *FLOATS)

Range = tuple[float, float]
Cells = tuple[int, int]


class FrameScore(NamedTuple):
    """Means of squared errors, and the PSNR of one; the module's docstring is the contract."""

    error: Tensor  # [N]
    psnr_db: Tensor  # [N]
    channel: Tensor  # [N, C]
    worst: Tensor  # [N]
    heatmap: Tensor  # [N, rows, columns]


def frame_score(
    predicted: Tensor,
    truth: Tensor,
    *,
    predicted_range: Range | None = None,
    truth_range: Range | None = None,
    weight: Tensor | None = None,
    patches: Cells = (1, 1),
    heatmap: Cells = (1, 1),
    backend: str = "auto",
) -> FrameScore:
    """Returns the scores of every frame; the module's docstring is the contract."""
    _check(predicted, truth, weight)
    ranges: list[float] = []
    for name, x, given in (("predicted", predicted, predicted_range), ("truth", truth, truth_range)):  # fmt: skip
        ranges += _range(name, x, given)
    for name, grid in (("patches", patches), ("heatmap", heatmap)):
        _check_grid(name, grid, predicted)
    cells = [*patches, *heatmap]
    return FrameScore(*torch.ops.vadfast.frame_score(predicted, truth, weight, ranges, cells, backend))  # fmt: skip


def _check(predicted: Tensor, truth: Tensor, weight: Tensor | None) -> None:
    if predicted.dim() != 4 or predicted.numel() == 0:
        raise ValueError(
            f"{_NAME}: predicted must be [N, C, H, W] and not empty, got {list(predicted.shape)}"
        )
    if truth.shape != predicted.shape:
        raise ValueError(
            f"{_NAME}: truth must be {list(predicted.shape)} like predicted, got {list(truth.shape)}"
        )
    for name, x in (("predicted", predicted), ("truth", truth)):
        if x.dtype not in _DTYPES:
            raise TypeError(
                f"{_NAME}: {name} must be uint8, float32, float16, bfloat16 or float64, got {x.dtype}"
            )
    tensors = [("truth", truth)]
    if weight is not None:
        _check_weight(weight, predicted)
        tensors.append(("weight", weight))
    for name, x in tensors:
        if x.device != predicted.device:
            raise TypeError(
                f"{_NAME}: {name} must be on {predicted.device} like predicted, got one on {x.device}"
            )


def _check_weight(weight: Tensor, predicted: Tensor) -> None:
    n, _, height, width = predicted.shape
    shape = list(weight.shape)
    if len(shape) != 3 or shape[0] != n or not (1 <= shape[1] <= height and 1 <= shape[2] <= width):
        raise ValueError(
            f"{_NAME}: weight must be [{n}, 1 to {height}, 1 to {width}] for frames of {height} x {width}, got {shape}"
        )
    if weight.dtype not in FLOATS:
        raise TypeError(
            f"{_NAME}: weight must be float32, float16, bfloat16 or float64, got {weight.dtype}"
        )


def _check_grid(name: str, cells: Cells, predicted: Tensor) -> None:
    height, width = predicted.shape[2:]
    if not (1 <= cells[0] <= height and 1 <= cells[1] <= width):
        raise ValueError(
            f"{_NAME}: {name} must be 1 x 1 to {height} x {width} cells, got {cells[0]} x {cells[1]}"
        )


def _range(name: str, x: Tensor, given: Range | None) -> Range:
    if given is None:
        return (0.0, 255.0 if x.dtype == torch.uint8 else 1.0)
    black, white = given
    if not (math.isfinite(black) and math.isfinite(white)) or black == white:
        raise ValueError(
            f"{_NAME}: {name}_range must be two finite values that differ, black and white, got {given}"
        )
    return (float(black), float(white))


def _native_refusal(
    predicted: Tensor, truth: Tensor, weight: Tensor | None = None, columns: int = 1
) -> str | None:
    for x in (predicted, truth):
        if x.dtype == torch.float64:
            return "computes from uint8, float16, bfloat16 and float32, got torch.float64"
    if (reason := _native.refusal_on(predicted.device.type)) is not None:
        return reason
    if columns > (most := _native.module().MAX_GRID_COLUMNS):
        return f"takes grids of at most {most} columns, got {columns}"
    return None


def sample(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Returns the arguments of a typical call: a prediction and a camera's frame, in little."""
    shape = (4, 3, 8, 8)
    predicted = torch.zeros(shape, device=device, dtype=dtype)
    return predicted, torch.zeros(shape, device=device, dtype=torch.uint8)


OPERATOR = Operator(
    _NAME,
    (
        Backend("native", "vadfast_kernels.frame_score.native_impl", _native_refusal),
        Backend("torch", "vadfast_kernels.frame_score.torch_impl", lambda *_: None),
    ),
)


@torch.library.custom_op("vadfast::frame_score", mutates_args=())
def _forward(
    predicted: Tensor, truth: Tensor, weight: Tensor | None, ranges: list[float], cells: list[int],
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    columns = max(cells[1], cells[3])
    implementation = OPERATOR.implementation(backend, predicted, truth, weight, columns)
    if weight is not None:
        weight = weight.to(torch.float32).contiguous()  # small: its cells are not pixels
    out = _empty(predicted, cells)
    implementation.forward(predicted, truth, weight, ranges, cells, out._asdict())
    return out.error, out.psnr_db, out.channel, out.worst, out.heatmap


@_forward.register_fake
def _(
    predicted: Tensor, truth: Tensor, weight: Tensor | None, ranges: list[float], cells: list[int],
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    out = _empty(predicted, cells)
    return out.error, out.psnr_db, out.channel, out.worst, out.heatmap


def _empty(predicted: Tensor, cells: list[int]) -> FrameScore:
    """Room for the results."""
    n, channels = predicted.shape[:2]

    def room(*shape: int) -> Tensor:
        return predicted.new_empty(shape, dtype=torch.float64)

    heatmap = predicted.new_empty((n, cells[2], cells[3]), dtype=torch.float32)
    return FrameScore(room(n), room(n), room(n, channels), room(n), heatmap)
