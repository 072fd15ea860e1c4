"""How well a model that scores bags of features finds what is labelled: by film, and by frame.

    video                the score of a film is its highest segment's; one ROC over films
    micro_raw            the score of a frame is its segment's, as it is: one ROC over the frames of all films, normal ones included
    micro_raw_abnormal   the same over films with an abnormal event alone: where in a film it is, without help from normal films

There is no min-max per film: scores are probabilities, and one threshold is meant for all films.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import vadfast
from vadfast.data.bags import FeatureSet, stack_bags
from vadfast.data.feature_files import FeatureVideo
from vadfast.data.labels import from_spans
from vadfast.data.segments import spread
from vadfast.errors import SourceError
from vadfast.evaluate.bag_subject import BagSubject
from vadfast.evaluate.protocols import Labels, Metrics, auc, metrics
from vadfast.evaluate.report import percent
from vadfast.progress import steps

_BATCH = 16
MEANING = {
    "video": "highest score of a film",
    "micro_raw": "scores of all frames, pooled",
    "micro_raw_abnormal": "frames of abnormal films, pooled",
}


@dataclass(frozen=True, slots=True)
class BagScores:
    """A test film: the score of each segment [N], and its frames' labels, None where the data does not have them."""

    video: FeatureVideo
    scores: NDArray[np.float32]
    labels: Labels | None

    @property
    def score(self) -> float:
        """Of the film."""
        return float(self.scores.max())


@dataclass(frozen=True, slots=True)
class BagSpeed:
    """Of one evaluation, on this machine, with whatever else ran on it; features are there already."""

    bags_per_s: float  # from feature file to score
    batch: int
    p50_ms: float  # of the network alone, a batch at a time; its first call is left out
    p99_ms: float


@dataclass(frozen=True, slots=True)
class BagAssessment:
    """Every number about one run or bundle on one test set; ``found`` by the names of ``MEANING``, without what the labels do not allow."""

    subject: BagSubject
    dataset: FeatureSet
    films: list[BagScores]
    found: Mapping[str, Metrics]
    speed: BagSpeed


def assess_bags(subject: BagSubject, dataset: FeatureSet) -> BagAssessment:
    """Scores the test films of ``dataset``.

    Raises:
        SourceError: films of one kind are missing, features do not fit the model, or labels their film.
    """
    for words, abnormal in (("normal", False), ("abnormal", True)):
        if not any(video.abnormal == abnormal for video in dataset.test):
            raise SourceError(
                f"evaluate: {dataset.root} must have normal and abnormal test films, has no {words} one among {len(dataset.test)}; "
                "an AUC needs both"
            )
    films, speed = score_bags(subject, dataset.test)
    is_abnormal = np.array([film.video.abnormal for film in films], np.uint8)
    found = {"video": metrics(is_abnormal, np.array([film.score for film in films]))}
    for name, chosen in (
        ("micro_raw", films),
        ("micro_raw_abnormal", [film for film in films if film.video.abnormal]),
    ):
        pooled = _by_frame(chosen)
        if pooled is not None:
            found[name] = metrics(*pooled)
    return BagAssessment(subject, dataset, films, found, speed)


def score_bags(
    subject: BagSubject, videos: Sequence[FeatureVideo]
) -> tuple[list[BagScores], BagSpeed]:
    """Returns the scores of films, and how long they took."""
    started = time.perf_counter()
    wanted = subject.input
    stack = stack_bags(
        videos, n_segments=wanted.n_segments, n_features=wanted.n_features, name="reading bags"
    )
    labels = [_labels(v, n) for v, n in zip(videos, stack.n_frames, strict=True)]
    scores, calls_ms = [], []
    with steps("evaluate", len(videos), unit="films") as bar:
        for first in range(0, len(videos), _BATCH):
            called = time.perf_counter()
            scores.append(subject.score(stack.bags[first : first + _BATCH]))
            calls_ms.append((time.perf_counter() - called) * 1000)
            bar.advance(len(scores[-1]))
    p50, p99 = np.percentile(calls_ms[1:] or calls_ms, [50, 99])
    seconds = time.perf_counter() - started
    speed = BagSpeed(len(videos) / seconds, min(_BATCH, len(videos)), float(p50), float(p99))
    films = zip(videos, np.concatenate(scores), labels, strict=True)
    return [BagScores(*film) for film in films], speed


def _labels(video: FeatureVideo, n_frames: int | None) -> Labels | None:
    """Features may cover a little less than the film: what is labelled beyond their end is cut off."""
    if n_frames is None or video.spans is None:
        return None
    late = [span for span in video.spans if span[0] >= n_frames]
    if late:
        raise SourceError(
            f"evaluate: {video.name} has {n_frames} frames by its features, and an abnormal span that begins at {late[0][0]}; "
            "check that labels and features belong together"
        )
    spans = [(first, min(last, n_frames - 1)) for first, last in video.spans]
    return from_spans(spans, n_frames, where=video.name)


def _by_frame(films: Sequence[BagScores]) -> tuple[Labels, NDArray[np.float64]] | None:
    """Labels and scores of all frames; None where a film has no labels, or all are of one class."""
    labels = [film.labels for film in films if film.labels is not None]
    if len(labels) < len(films) or not labels:
        return None
    scores = [spread(film.scores, len(of)) for film, of in zip(films, labels, strict=True)]
    pooled = np.concatenate(labels)
    return (
        (pooled, np.concatenate(scores).astype(np.float64)) if len(np.unique(pooled)) == 2 else None
    )


# ------------------------------------------------------------------------------------------------ report


def print_bags(console: Console, assessment: BagAssessment) -> None:
    """Prints the table of protocols, and what it rests on."""
    dataset, films = assessment.dataset, assessment.films
    table = Table(
        title=escape(assessment.subject.words),
        title_justify="left",
        title_style="bold",
    )
    table.add_column("protocol", no_wrap=True)
    for column in ("AUC %", "EER %", "AP %", "gap"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("what it is", style="dim")
    for name, words in MEANING.items():
        m = assessment.found.get(name)
        cells = (
            ["none", "", "", ""]
            if m is None
            else [percent(m.auc), percent(m.eer), percent(m.ap), f"{m.gap:.3f}"]
        )
        table.add_row(name, *cells, words)
    console.print(table)
    n_abnormal = sum(film.video.abnormal for film in films)
    console.print(
        f"films: {len(films)}, {n_abnormal} abnormal; labels: {dataset.label_source}",
        markup=False,
        soft_wrap=True,
    )
    speed = assessment.speed
    console.print(
        f"speed: {speed.bags_per_s:.1f} bags/s from features to scores; the network took {speed.p50_ms:.1f} ms (p50), "
        f"{speed.p99_ms:.1f} ms (p99) a batch of {speed.batch}",
        markup=False,
        soft_wrap=True,
    )
    bare = [film.video.name for film in films if film.labels is None]
    if bare:
        console.print(
            f"frames: {len(bare)} films have no labels by frame or no known length ({', '.join(bare[:3])}"
            f"{', ...' if len(bare) > 3 else ''}), so there is no AUC over all frames",
            markup=False,
            soft_wrap=True,
        )


def bags_json(assessment: BagAssessment) -> dict[str, Any]:
    """Returns the report with the keys of ``report.to_json`` as far as bags have them, and each film's segment scores."""
    found, subject = assessment.found, assessment.subject
    frames = [film.labels for film in assessment.films if film.labels is not None]
    return {
        "auc": {name: m.auc for name, m in found.items()},
        "eer": found["video"].eer,
        "ap": found["video"].ap,
        "labels": assessment.dataset.label_source,
        "videos": [_film_json(film) for film in assessment.films],
        "pooled": {
            name: {"auc": m.auc, "eer": m.eer, "ap": m.ap, "gap": m.gap}
            for name, m in found.items()
        },
        "spatial": None,
        "speed": asdict(assessment.speed),
        "n_scores": sum(len(labels) for labels in frames),
        "n_abnormal": sum(int(labels.sum()) for labels in frames),
        "dataset": assessment.dataset.kind,
        "subject": {
            "path": str(subject.path),
            "kind": subject.kind,
            "method": subject.method,
            "checkpoint_sha256": subject.checkpoint_sha256,
            "backend": subject.backend,
            "precision": "fp32",
        },
        "vadfast_version": vadfast.__version__,
    }


def _film_json(film: BagScores) -> dict[str, Any]:
    labels = film.labels
    within = None if labels is None else auc(labels, spread(film.scores, len(labels)))
    return {
        "name": film.video.name,
        "n_frames": None if labels is None else len(labels),
        "auc": within,
        "label": int(film.video.abnormal),
        "score": film.score,
        "segment_scores": film.scores.tolist(),
    }
