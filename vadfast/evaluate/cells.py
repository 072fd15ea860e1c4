"""What is abnormal, on the grid of a heat map: the share of each cell that a mask or a region covers.

A heat map has one value for each cell, so that the pixels of a cell are flagged together or not at all. Areas are therefore
counted in cells and their parts: the same numbers as of a map that was enlarged to pixels cell by cell, in a fraction of the time.
"""

from dataclasses import dataclass
from math import ceil
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vadfast.errors import SourceError

Shares = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Regions:
    """What is to be found in a video: regions of single frames, each the cells that it covers.

    Pair i says that region ``region[i]`` covers the share ``share[i]`` of cell ``cell[i]``, a flat index into the
    video's heat maps [n, h, w].
    """

    cell: NDArray[np.int64]  # [m]
    region: NDArray[np.int64]  # [m]
    share: NDArray[np.float64]  # [m]
    size: NDArray[np.float64]  # [n_regions], in cells
    track: (
        NDArray[np.int64] | None
    )  # [n_regions]: regions of one track are one event; None: unknown


@dataclass(frozen=True, slots=True)
class MaskedVideo:
    """One video's heat maps and, frame by frame, what they should have shown."""

    name: str
    heat: NDArray[np.float32]  # [n, h, w], high = abnormal
    area: Shares  # [n, h, w]: share of each cell that is abnormal
    regions: Regions


def masked_video(
    name: str,
    heat: NDArray[np.float32],
    masks: NDArray[np.bool_],
    *,
    first_frame: int,
    tracks: NDArray[np.int64] | None,
) -> MaskedVideo:
    """Puts the masks of a video on the grid of its heat maps.

    Args:
        name: of the video.
        heat: [n, h, w], the first of frame ``first_frame``.
        masks: [n_frames, H, W] of the whole video.
        first_frame: how many frames at the beginning have no heat map.
        tracks: [k, 6] rows (track, frame, x1, y1, x2, y2), frames from 0 and pixels of the masks, corners included; their
            boxes are then the regions. None: the connected parts of each mask are.

    Raises:
        SourceError: there is not one mask for each frame.
    """
    if len(masks) != first_frame + len(heat):
        raise SourceError(
            f"evaluate: the masks of {name} must cover {first_frame + len(heat)} frames, got {len(masks)}; "
            "check that masks and film belong together"
        )
    masks = masks[first_frame:]
    grid = (heat.shape[1], heat.shape[2])
    area = np.stack([shares(mask, grid) for mask in masks])
    found = _connected(masks) if tracks is None else _boxes(tracks, masks.shape, first_frame)
    covers = [shares(mask, grid).ravel() for _, _, mask in found]
    cells = [np.flatnonzero(share) for share in covers]
    regions = Regions(
        cell=_joined(
            [at + frame * area[0].size for at, (frame, _, _) in zip(cells, found, strict=True)]
        ),
        region=_joined([np.full(len(at), number) for number, at in enumerate(cells)]),
        share=_joined([share[at] for share, at in zip(covers, cells, strict=True)], np.float64),
        size=np.array([share.sum(dtype=np.float64) for share in covers]),
        track=None if tracks is None else np.array([track for _, track, _ in found], np.int64),
    )
    return MaskedVideo(name, heat, area, regions)


def shares(mask: NDArray[np.bool_], grid: tuple[int, int]) -> Shares:
    """The share of each cell of ``grid`` (rows, columns) that ``mask`` [H, W] covers; cells may cut pixels."""
    # Area interpolation is exact where it shrinks; a mask coarser than the grid is enlarged first.
    times = max(ceil(grid[0] / mask.shape[0]), ceil(grid[1] / mask.shape[1]))
    fine = mask.astype(np.float32)
    if times > 1:
        fine = fine.repeat(times, axis=0).repeat(times, axis=1)
    return cv2.resize(fine, (grid[1], grid[0]), interpolation=cv2.INTER_AREA)


def _joined(parts: list[NDArray[Any]], dtype: type = np.int64) -> NDArray[Any]:
    return np.concatenate([np.zeros(0, dtype), *parts]).astype(dtype)


def _connected(masks: NDArray[np.bool_]) -> list[tuple[int, int, NDArray[np.bool_]]]:
    """(frame, 0, mask) of each connected part (8 neighbours) of each mask."""
    found = []
    for frame, mask in enumerate(masks):
        if mask.any():
            n, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
            found += [(frame, 0, labels == part) for part in range(1, n)]
    return found


def _boxes(
    tracks: NDArray[np.int64], shape: tuple[int, ...], first_frame: int
) -> list[tuple[int, int, NDArray[np.bool_]]]:
    """(frame, track, mask) of each box in a frame that was scored."""
    found = []
    for track, frame, x1, y1, x2, y2 in tracks.tolist():
        if first_frame <= frame < first_frame + shape[0]:
            mask = np.zeros(shape[1:], bool)
            mask[y1 : y2 + 1, x1 : x2 + 1] = True
            found.append((frame - first_frame, track, mask))
    return found
