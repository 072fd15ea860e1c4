"""All that is found out about one run or bundle on one test set: what the table, the JSON and the pictures are made of."""

from dataclasses import dataclass

from vadfast.data.datasets import Dataset
from vadfast.evaluate.protocols import Evaluation, VideoScores, evaluate
from vadfast.evaluate.spatial import SpatialMetrics, evaluate_spatial
from vadfast.evaluate.speed import Speed, score_timed
from vadfast.evaluate.subject import Subject


@dataclass(frozen=True, slots=True)
class Assessment:
    """One subject's scores and every number made of them."""

    subject: Subject
    dataset: Dataset
    videos: list[VideoScores]
    result: Evaluation
    spatial: SpatialMetrics | None  # None where no test video has masks
    speed: Speed


def assess(subject: Subject, dataset: Dataset) -> Assessment:
    """Scores the test videos; raises as ``score_videos`` does."""
    videos, speed = score_timed(subject, dataset)
    spatial = evaluate_spatial(videos, dataset)
    return Assessment(subject, dataset, videos, evaluate(videos), spatial, speed)
