"""Frame scores in NumPy, written for the eye: every error exists, in float64."""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Range = tuple[float, float]
Cells = tuple[int, int]


def frame_score(
    predicted: npt.ArrayLike,
    truth: npt.ArrayLike,
    *,
    predicted_range: Range,
    truth_range: Range,
    weight: npt.ArrayLike | None = None,
    patches: Cells = (1, 1),
    heatmap: Cells = (1, 1),
) -> tuple[Array, Array, Array, Array, Array]:
    """Returns error [n], psnr_db [n], channel [n, C], worst [n] and heatmap [n, rows, columns] of ``op.py``."""
    e = (_in_units(predicted, predicted_range) - _in_units(truth, truth_range)) ** 2  # [n, C, H, W]
    if weight is not None:
        e = e * _spread(np.asarray(weight, np.float64), e.shape[2:])[:, np.newaxis]
    error = _never_minus_infinity(e.mean(axis=(1, 2, 3)))
    psnr_db = 10 * np.log10(1 / np.maximum(error, 1e-10))
    channel = _never_minus_infinity(e.mean(axis=(2, 3)))
    return error, psnr_db, channel, _cells(e, patches).max(axis=(1, 2)), _cells(e, heatmap)


def _in_units(frames: npt.ArrayLike, values: Range) -> Array:
    """Frames [n, C, H, W] in units of white - black."""
    black, white = values
    return (np.asarray(frames, np.float64) - black) / (white - black)


def _spread(weight: Array, size: tuple[int, ...]) -> Array:
    """Weights [n, rows, columns] as [n, H, W]."""
    out = np.empty((len(weight), *size))
    for i, rows in enumerate(_cuts(size[0], weight.shape[1])):
        for j, columns in enumerate(_cuts(size[1], weight.shape[2])):
            out[:, rows, columns] = weight[:, i, j, np.newaxis, np.newaxis]
    return out


def _cells(e: Array, grid: Cells) -> Array:
    """Means of [n, C, H, W] over the cells of a grid, [n, rows, columns]."""
    means = [
        [e[:, :, rows, columns].mean(axis=(1, 2, 3)) for columns in _cuts(e.shape[3], grid[1])]
        for rows in _cuts(e.shape[2], grid[0])
    ]
    return _never_minus_infinity(np.array(means).transpose(2, 0, 1))


def _cuts(size: int, n: int) -> list[slice]:
    """Cell i is [i size / n, (i + 1) size / n), rounded down."""
    return [slice(i * size // n, (i + 1) * size // n) for i in range(n)]


def _never_minus_infinity(mean: Array) -> Array:
    """An infinite error under a negative weight would look like a good one."""
    return np.where(mean == -np.inf, np.nan, mean)
