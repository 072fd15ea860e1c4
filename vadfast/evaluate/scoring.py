"""Runs a model over the labelled test videos and puts each score beside its label.

Labels are checked before the first frame is decoded: an hour of scoring must not end in "there was
no label file".
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vadfast.data.datasets import Dataset, Video
from vadfast.errors import SourceError
from vadfast.evaluate.globalminmax import global_minmax
from vadfast.evaluate.protocols import Labels, VideoScores, check_both_classes, match_labels
from vadfast.evaluate.subject import Subject
from vadfast.progress import steps
from vadfast.runtime.score import run_chain
from vadfast.runtime.session import raw_scores
from vadfast.teachers.pictures import TeacherCost

# What data/datasets.py reads frame labels from: for the sentence that says none was found.
LABEL_FILES = {
    "ped1": "Test/UCSDped1.m, labels/frame_labels_ped1.npy, labels/gt_intervals.json, ped1.mat",
    "ped2": "Test/UCSDped2.m, labels/frame_labels_ped2.npy, labels/gt_intervals.json, ped2.mat",
    "avenue": "avenue.mat, frame_labels_avenue.npy, ground_truth_demo/testing_label_mask/*.mat",
    "shanghaitech": "testing/test_frame_mask/<video>.npy, testing/test_pixel_mask/<video>.npy",
    "folder": "labels.json",
}


def score_videos(
    subject: Subject, dataset: Dataset, *, cost: TeacherCost | None = None
) -> list[VideoScores]:
    """Returns the scores of every test video, with the heat maps of those that have pixel masks; adds its teachers' time to ``cost``.

    Raises:
        SourceError: labels are absent, all of one class, or do not fit their video.
    """
    labels = _labels_of(dataset)
    window = subject.input.n_frames
    check_both_classes(np.concatenate([of_video[window - 1 :] for of_video in labels]))
    result = []
    n_windows = sum(max(len(of_video) - window + 1, 0) for of_video in labels)
    with steps("evaluate", n_windows, unit="frames") as bar:
        for number, (video, of_video) in enumerate(zip(dataset.test, labels, strict=True), 1):
            bar.rename(f"evaluate {video.name} ({number} of {len(labels)})")
            rows, maps = [], []
            for raw in raw_scores(subject.engine, subject.input, video.source, cost=cost):
                rows.append(raw.components)
                if video.masks is not None:
                    maps.append(raw.heatmap)
                bar.advance()
            components = np.stack(rows)  # [n, K]
            result.append(
                VideoScores(
                    name=video.name,
                    n_frames=len(of_video),
                    labels=match_labels(of_video, len(rows), window, name=video.name),
                    components=components,
                    scores={
                        name: run_chain(chain, subject.components, components, subject.calibration)
                        for name, chain in subject.chains.items()
                    },
                    heatmaps=np.stack(maps) if maps else None,
                )
            )
    return _with_global_minmax(subject, result)


def _with_global_minmax(subject: Subject, videos: list[VideoScores]) -> list[VideoScores]:
    whole = global_minmax(
        subject.chains["micro_minmax"], subject.components, [v.components for v in videos]
    )
    return [
        replace(video, scores={**video.scores, "micro_globalminmax": scores})
        for video, scores in zip(videos, whole, strict=True)
    ]


def _labels_of(dataset: Dataset) -> list[Labels]:
    if not dataset.test:
        raise SourceError(
            f"evaluate: {dataset.root} has no test videos, only {len(dataset.train)} for training "
            f"(read as {dataset.kind}); put labelled videos under testing/, or name the layout "
            "with --dataset"
        )
    bare = [video.name for video in dataset.test if video.labels is None]
    if bare:
        some = (
            "none of the test videos has"
            if len(bare) == len(dataset.test)
            else f"{_names(bare)} lack"
        )
        raise SourceError(
            f"evaluate: {some} frame labels under {dataset.root} (read as {dataset.kind}; "
            f"looked for {LABEL_FILES.get(dataset.kind, 'label files')}); add one of them, "
            "or see the scores alone with python -m vadfast.score"
        )
    return [_of(video) for video in dataset.test]


def _of(video: Video) -> Labels:
    if video.labels is None:  # for the type checker: _labels_of has refused it
        raise SourceError(f"evaluate: {video.name} has no labels")
    return np.asarray(video.labels, dtype=np.uint8)


def _names(names: Sequence[str], at_most: int = 5) -> str:
    return ", ".join(names[:at_most]) + (
        f" and {len(names) - at_most} more" if len(names) > at_most else ""
    )
