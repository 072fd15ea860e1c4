r"""Where in the frame: what heat maps are worth against pixel masks.

    pixel level    a frame with an abnormal pixel is a hit where at least 40 % of its abnormal pixels are flagged, a frame without
                   one is a false alarm where any pixel is; area below that ROC (Mahadevan et al., CVPR 2010)
    dual pixel     the same, and at least 10 % of the flagged pixels must be abnormal (Sabokrou et al., 2015)
    per pixel      the AUC of all pixels of all frames; flatters, as nearly all of them are normal and far from anything
    RBDC, TBDC     see ``regions``

All of them pool the raw maps, so one threshold holds for all videos. None is printed by the five papers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import auc, roc_auc_score

from vadfast.data.datasets import Dataset
from vadfast.evaluate.cells import MaskedVideo, masked_video
from vadfast.evaluate.protocols import VideoScores, equal_error_rate
from vadfast.evaluate.regions import RegionMetrics, region_metrics

LEAST_FOUND = 0.4  # of a frame's abnormal pixels
LEAST_TRUE = 0.1  # of its flagged pixels
_SLACK = 1e-6  # areas are float32: a frame that meets a bound exactly must not fall below it


@dataclass(frozen=True, slots=True)
class SpatialMetrics:
    """Fractions of 1 over the videos that have masks."""

    pixel_level: float
    pixel_level_eer: float
    dual_pixel: float
    per_pixel: float
    regions: RegionMetrics
    videos: tuple[str, ...]


def evaluate_spatial(videos: Sequence[VideoScores], dataset: Dataset) -> SpatialMetrics | None:
    """The spatial metrics of the videos that have masks; None where none has, or frames of only one kind."""
    masked = [
        masked_video(
            scored.name,
            scored.heatmaps,
            video.masks(),
            first_frame=scored.first_frame,
            tracks=None if video.tracks is None else video.tracks(),
        )
        for scored, video in zip(videos, dataset.test, strict=True)
        if video.masks is not None and scored.heatmaps is not None
    ]
    return spatial_metrics(masked)


def spatial_metrics(videos: Sequence[MaskedVideo]) -> SpatialMetrics | None:
    """The same of videos whose masks are on the grid of their maps."""
    regions = region_metrics(videos)
    if regions is None:
        return None
    heat = np.concatenate([video.heat.reshape(len(video.heat), -1) for video in videos])  # [n, m]
    area = np.concatenate([video.area.reshape(len(video.area), -1) for video in videos])
    labels = np.asarray(area.any(axis=1))  # [n]
    if labels.all() or not labels.any():
        return None
    levels = np.where(labels, _hit_levels(heat, area), heat.max(axis=1))
    return SpatialMetrics(
        pixel_level=float(roc_auc_score(labels, levels)),
        pixel_level_eer=equal_error_rate(labels.astype(np.uint8), levels),
        dual_pixel=_dual_pixel(heat[labels], area[labels], heat[~labels].max(axis=1)),
        per_pixel=_per_pixel(heat, area),
        regions=regions,
        videos=tuple(video.name for video in videos),
    )


def _hit_levels(heat: NDArray[np.float32], area: NDArray[np.float32]) -> NDArray[np.float32]:
    """The highest threshold at which each frame [n, m] is a hit: as a score of the frame it gives the criterion's ROC."""
    order = np.argsort(-heat, axis=1)
    covered = np.cumsum(np.take_along_axis(area, order, axis=1), axis=1, dtype=np.float64)
    enough = covered >= LEAST_FOUND * covered[:, -1:] - _SLACK
    last = np.take_along_axis(order, enough.argmax(axis=1)[:, None], axis=1)
    return np.take_along_axis(heat, last, axis=1)[:, 0]


def _dual_pixel(
    heat: NDArray[np.float32], area: NDArray[np.float32], normal: NDArray[np.float32]
) -> float:
    """Area of a curve whose hits may be lost again as the threshold falls; ``normal`` are the highest cells of normal frames."""
    alarms = np.unique(normal)
    # The false alarms change at these values, and what can be had without the last of them lies just above.
    thresholds = np.unique(np.concatenate([alarms, np.nextafter(alarms, np.inf)]))[::-1]
    hits = np.zeros(len(thresholds))
    for of_frame, area_of_frame in zip(heat, area, strict=True):
        order = np.argsort(-of_frame)
        n_flagged = np.searchsorted(-of_frame[order], -thresholds, side="right")
        covered = np.concatenate([[0.0], np.cumsum(area_of_frame[order], dtype=np.float64)])
        flagged = covered[n_flagged]
        hits += (
            (flagged >= LEAST_FOUND * covered[-1] - _SLACK)
            & (flagged >= LEAST_TRUE * n_flagged - _SLACK)
            & (n_flagged > 0)
        )
    false_alarms = np.array([(normal >= threshold).mean() for threshold in thresholds])
    return float(auc(np.append(0.0, false_alarms), np.append(0.0, hits / len(heat))))


def _per_pixel(heat: NDArray[np.float32], area: NDArray[np.float32]) -> float:
    """The AUC of all pixels: a cell counts as abnormal by its abnormal share, as normal by the rest."""
    scores, shares = heat.ravel(), area.ravel().astype(np.float64)
    abnormal, normal = shares > 0, shares < 1
    return float(
        roc_auc_score(
            np.repeat([1, 0], [abnormal.sum(), normal.sum()]),
            np.concatenate([scores[abnormal], scores[normal]]),
            sample_weight=np.concatenate([shares[abnormal], 1 - shares[normal]]),
        )
    )
