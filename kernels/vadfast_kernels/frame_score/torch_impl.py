"""Frame scores in PyTorch, on any device: over parts that stay in a CPU's cache, so that errors are not written to memory."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from vadfast_kernels._dtypes import wide

_PART_BYTES = {"cpu": 1 << 20, "cuda": 256 << 20}


def forward(
    predicted: Tensor,
    truth: Tensor,
    weight: Tensor | None,
    ranges: Sequence[float],
    cells: Sequence[int],
    out: Mapping[str, Tensor],
) -> None:
    """Fills ``out``."""
    dtype = wide(predicted, truth)
    frame_bytes = predicted[0].numel() * dtype.itemsize
    step = max(1, _PART_BYTES["cuda" if predicted.is_cuda else "cpu"] // frame_bytes)
    for first in range(0, len(predicted), step):
        part = slice(first, first + step)
        e = _in_units(predicted[part], ranges[:2], dtype)
        e = e.sub_(_in_units(truth[part], ranges[2:], dtype)).square_()  # [b, C, H, W]
        if weight is not None:
            e.mul_(_spread(weight[part], e.shape[2:]).unsqueeze(1))
        channel = e.mean(dim=(2, 3), dtype=torch.float64)
        error = channel.mean(dim=1)
        grids = {"worst": (cells[0], cells[1]), "heatmap": (cells[2], cells[3])}
        means = {name: _cells(e, error, *grid) for name, grid in grids.items()}
        error = _never_minus_infinity(error)
        out["error"][part] = error
        out["psnr_db"][part] = -10 * error.clamp_min(1e-10).log10()
        out["channel"][part] = _never_minus_infinity(channel)
        out["worst"][part] = _never_minus_infinity(means["worst"]).amax(dim=(1, 2))
        out["heatmap"][part] = _never_minus_infinity(means["heatmap"]).float()


def _in_units(x: Tensor, values: Sequence[float], dtype: torch.dtype) -> Tensor:
    """A new tensor in units of white - black."""
    black, white = values
    scaled = torch.mul(x.to(dtype), 1 / (white - black))
    return scaled.sub_(black / (white - black)) if black else scaled


def _spread(weight: Tensor, size: Sequence[int]) -> Tensor:
    """Weights [b, rows, columns] as [b, H, W]."""
    for dim, n in ((1, size[0]), (2, size[1])):
        place = torch.arange(n, device=weight.device)
        # The cell that holds a place, where cell i begins at i n / cells rounded down.
        cell = ((place + 1) * weight.shape[dim] - 1) // n
        weight = weight.index_select(dim, cell)
    return weight


def _cells(e: Tensor, error: Tensor, rows: int, columns: int) -> Tensor:
    """Means [b, rows, columns] of ``e`` [b, C, H, W], which are ``error`` [b] if there is one cell."""
    if rows == columns == 1:
        return error[:, None, None]
    total = _sums(_sums(e.sum(dim=1, dtype=torch.float64), 1, rows), 2, columns)
    height, width = (_sums(e.new_ones(n), 0, cells) for n, cells in ((e.shape[2], rows), (e.shape[3], columns)))  # fmt: skip
    return total / (e.shape[1] * height[:, None] * width)


def _sums(x: Tensor, dim: int, cells: int) -> Tensor:
    """Sums over the cells that a side is cut into; cells without a remainder are one sum."""
    size = x.shape[dim]
    if size % cells == 0:
        return x.unflatten(dim, (cells, -1)).sum(dim=dim + 1)
    sizes = [(i + 1) * size // cells - i * size // cells for i in range(cells)]
    return torch.stack([part.sum(dim=dim) for part in x.split(sizes, dim)], dim=dim)


def _never_minus_infinity(mean: Tensor) -> Tensor:
    """An infinite error under a negative weight would look like a good one."""
    return mean.masked_fill(mean == -torch.inf, torch.nan)
