r"""RBDC and TBDC: which regions and which tracks a heat map finds, against how many regions it makes up.

At a threshold, a detected region is a connected part (8 neighbours) of the cells at or above it::

    region g is found          iff  IoU(g, d) >= 0.1 for some detected region d of its frame
    track is found             iff  at least 10 % of its regions are
    false positives a frame     =   detected regions with IoU < 0.1 to every region, / frames
    RBDC, TBDC                  =   area below the rate of found regions, of found tracks, over 0 to 1 false positives a frame

Source: Ramachandra & Jones, "Street Scene", WACV 2020, section 4. Own code from the definition. Where a lower threshold finds
less (regions grow together), the curve keeps the best rate of all thresholds with no more false positives.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.metrics import auc

from vadfast.evaluate.cells import MaskedVideo

LEAST_IOU = 0.1
LEAST_PART_OF_TRACK = 0.1
N_THRESHOLDS = 200
_SLACK = 1e-6  # areas are float32: a region that meets a bound exactly must not fall below it
_IN_PLANE = np.zeros((3, 3, 3), bool)  # neighbours within a frame, none in the next one
_IN_PLANE[1] = True


@dataclass(frozen=True, slots=True)
class RegionMetrics:
    """Fractions of 1; ``tbdc`` is None where no track is known."""

    rbdc: float
    tbdc: float | None
    n_regions: int
    n_tracks: int | None


def region_metrics(videos: Sequence[MaskedVideo]) -> RegionMetrics | None:
    """RBDC and TBDC of some videos together; None where there is no region to find."""
    n_regions = sum(len(video.regions.size) for video in videos)
    if not n_regions:
        return None
    tracks = [video.regions.track for video in videos if video.regions.track is not None]
    tracked = len(tracks) == len(videos)
    n_tracks = sum(len(np.unique(track)) for track in tracks)
    n_frames = sum(len(video.heat) for video in videos)
    false_positives, region_rates, track_rates = [0.0], [0.0], [0.0]
    for threshold in _thresholds(videos):
        found, n_false = zip(*(detect(video, threshold) for video in videos), strict=True)
        false_positives.append(sum(n_false) / n_frames)
        region_rates.append(sum(int(f.sum()) for f in found) / n_regions)
        if tracked:
            hits = sum(_n_found(track, f) for track, f in zip(tracks, found, strict=True))
            track_rates.append(hits / n_tracks)
    return RegionMetrics(
        rbdc=area_to_one(false_positives, region_rates),
        tbdc=area_to_one(false_positives, track_rates) if tracked else None,
        n_regions=n_regions,
        n_tracks=n_tracks if tracked else None,
    )


def detect(video: MaskedVideo, threshold: float) -> tuple[NDArray[np.bool_], int]:
    """Which regions of a video are found at a threshold [n_regions], and how many detected regions are false."""
    regions = video.regions
    labels, n = ndimage.label(video.heat >= threshold, structure=_IN_PLANE)
    labels = labels.ravel()
    found = np.zeros(len(regions.size), bool)
    size = np.bincount(labels, minlength=n + 1)  # in cells
    at = labels[regions.cell]  # the detected region, if any, over each cell of each region
    met = at > 0
    keys, place = np.unique(regions.region[met] * (n + 1) + at[met], return_inverse=True)
    overlap = np.bincount(place, weights=regions.share[met], minlength=len(keys))
    truth, detected = keys // (n + 1), keys % (n + 1)
    iou = overlap / (size[detected] + regions.size[truth] - overlap)
    right = iou >= LEAST_IOU - _SLACK
    found[truth[right]] = True
    return found, int(n - len(np.unique(detected[right])))


def area_to_one(false_positives: Sequence[float], rates: Sequence[float]) -> float:
    """Area below the best rate at each number of false positives a frame, from 0 to 1, joined by straight lines."""
    x, y = np.asarray(false_positives), np.asarray(rates)
    order = np.lexsort((y, x))
    x, y = x[order], np.maximum.accumulate(y[order])
    ends = np.interp(1.0, x, y)  # flat beyond the last point
    inside = x < 1
    return float(auc(np.append(x[inside], 1.0), np.append(y[inside], ends)))


def _n_found(track: NDArray[np.int64], found: NDArray[np.bool_]) -> int:
    """How many of a video's tracks are found, by the track of each region and whether that is."""
    _, number = np.unique(track, return_inverse=True)
    n_regions, n_hits = np.bincount(number), np.bincount(number, weights=found)
    return int((n_hits >= LEAST_PART_OF_TRACK * n_regions - _SLACK).sum())


def _thresholds(videos: Sequence[MaskedVideo]) -> NDArray[np.float32]:
    """Values of the maps from the highest down; of many, those that let through a geometric row of shares."""
    values = np.concatenate([video.heat.ravel() for video in videos])
    distinct = np.unique(values)
    if len(distinct) > N_THRESHOLDS:
        let_through = np.geomspace(1 / len(values), 1, N_THRESHOLDS)
        distinct = np.unique(np.quantile(values, 1 - let_through, method="higher"))
    return distinct[::-1]
