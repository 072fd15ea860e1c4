"""Every way in which a table of this field turns frame scores into one number, side by side.

The protocol moves the AUC by more than the methods differ, so no number leaves here without its
name:

    micro_minmax   each video min-maxed by the paper's chain, all frames pooled: what papers print.
                   It uses the future of each video, and forces a 0 and a 1 into every one, even
                   into one that is abnormal throughout.
    micro_raw      raw scores pooled. The only one of the paper's that a fixed threshold can reach.
    causal         scores of the causal chain pooled: what a camera raises its alerts by. Needs a
                   calibration.
    micro_globalminmax
                   one min-max over the whole set in the place of one per video: all films taken
                   for one, as some published test code does. With a single score that is a
                   monotone map of the raw one, and the AUC that of ``micro_raw`` (tested).
    macro          the mean over videos of the AUC within each; videos of one class have none and
                   are skipped, by name.
    macro_pad      the same with every video: one of a single class gets a normal frame that scores
                   lowest and an abnormal one that scores highest, which makes it nearly right by
                   construction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from vadfast.errors import SourceError

Scores = NDArray[np.float64]
Labels = NDArray[np.uint8]  # 1 = abnormal


@dataclass(frozen=True, slots=True)
class VideoScores:
    """One video's anomaly scores, high = abnormal, each beside the label of the same frame."""

    name: str
    n_frames: int  # of the video; the first ``n_frames - len(labels)`` of them carry no score
    labels: Labels  # [n]
    components: NDArray[np.float32]  # [n, K] as the engine gave them
    # "micro_minmax", "micro_raw", "micro_globalminmax" and, with a calibration, "causal" -> [n].
    scores: Mapping[str, Scores]
    heatmaps: NDArray[np.float32] | None = None  # [n, h, w]; kept only where there are masks

    @property
    def first_frame(self) -> int:
        """Index of the frame that ``labels[0]`` and every ``scores[...][0]`` belong to."""
        return self.n_frames - len(self.labels)


@dataclass(frozen=True, slots=True)
class Metrics:
    """What one pooled set of scores is worth. All are fractions, except ``gap``."""

    auc: float
    eer: float  # where false alarms and misses are equally frequent; lower is better
    ap: float  # average precision; a coin toss reaches the share of abnormal frames, not 0.5
    gap: float  # mean score of abnormal frames minus that of normal ones, in the score's unit


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The numbers of one model on one test set."""

    pooled: Mapping[str, Metrics]  # by the names of VideoScores.scores
    macro: float | None  # None where no video has both classes
    macro_pad: float
    video_auc: Mapping[str, float | None]  # None: all of the video's scored frames are of one class
    n_scores: int
    n_abnormal: int

    @property
    def skipped(self) -> tuple[str, ...]:
        """The videos that ``macro`` leaves out."""
        return tuple(name for name, auc in self.video_auc.items() if auc is None)


def evaluate(videos: Sequence[VideoScores]) -> Evaluation:
    """Computes every protocol. Raises SourceError where the scored frames are all of one class."""
    labels = np.concatenate([video.labels for video in videos])
    check_both_classes(labels)
    pooled = {
        name: metrics(labels, np.concatenate([video.scores[name] for video in videos]))
        for name in videos[0].scores
    }
    # Within a video min-max changes nothing, so macro is one number, not one per pooled score.
    video_auc = {video.name: auc(video.labels, video.scores["micro_minmax"]) for video in videos}
    defined = [value for value in video_auc.values() if value is not None]
    padded = [padded_auc(video.labels, video.scores["micro_minmax"]) for video in videos]
    return Evaluation(
        pooled=pooled,
        macro=float(np.mean(defined)) if defined else None,
        macro_pad=float(np.mean(padded)),
        video_auc=video_auc,
        n_scores=len(labels),
        n_abnormal=int(labels.sum()),
    )


def metrics(labels: Labels, scores: Scores) -> Metrics:
    """Returns AUC, EER, AP and gap of one ROC; both classes must be present."""
    return Metrics(
        auc=float(roc_auc_score(labels, scores)),
        eer=equal_error_rate(labels, scores),
        ap=float(average_precision_score(labels, scores)),
        gap=float(scores[labels == 1].mean() - scores[labels == 0].mean()),
    )


def auc(labels: Labels, scores: Scores) -> float | None:
    """Returns the area under the ROC curve, or None where only one class is present."""
    return float(roc_auc_score(labels, scores)) if 0 < labels.sum() < len(labels) else None


def padded_auc(labels: Labels, scores: Scores) -> float:
    """Returns ``auc``, of a video of one class with an extreme frame of each class added to it."""
    own = auc(labels, scores)
    if own is not None:
        return own
    with_both = np.concatenate([scores, [scores.min(), scores.max()]])
    return float(roc_auc_score(np.concatenate([labels, [0, 1]]), with_both))


def equal_error_rate(labels: Labels, scores: Scores) -> float:
    """Returns the rate at which false alarms equal misses, on the ROC joined by straight lines."""
    false_alarms, hits, _ = roc_curve(labels, scores, drop_intermediate=False)
    # hits + false_alarms rises from 0 to 2; misses equal false alarms where it crosses 1.
    return float(np.interp(1.0, hits + false_alarms, false_alarms))


def match_labels(labels: Labels, n_scores: int, window: int, *, name: str) -> Labels:
    """Returns the labels of the scored frames: the first ``window - 1`` have no whole window.

    Raises SourceError unless labels and scores then pair up one to one.
    """
    if len(labels) != n_scores + window - 1:
        raise SourceError(
            f"evaluate: {name} has {len(labels)} labels but {n_scores + window - 1} decoded frames "
            f"({n_scores} scores and the first {window - 1} frames, which carry none); "
            "check that the labels belong to this copy of the video"
        )
    return labels[window - 1 :]


def check_both_classes(labels: Labels) -> None:
    """Raises SourceError where no ROC curve exists because all labels are alike."""
    n_abnormal = int(labels.sum())
    if not 0 < n_abnormal < len(labels):
        kind = "abnormal" if n_abnormal else "normal"
        raise SourceError(
            f"evaluate: an AUC needs normal and abnormal frames, but all {len(labels)} scored "
            f"frames are labelled {kind}; use a test set with both, or see the scores alone with "
            "python -m vadfast.score"
        )
