"""Data sets on disk: which films train, which test, and what is abnormal where.

The films of every layout are found by the same rule (a training part and a testing part, each a folder of videos or of image
folders); what differs between data sets is only where their labels lie.

    ped1, ped2   UCSD as distributed (Train/Train001/*.tif, Test/Test001, Test001_gt, UCSDped2.m) and the popular
                 layout (training/frames/01/*.jpg, ped2.mat or frame_labels_ped2.npy)
    avenue       training_videos/01.avi, ground_truth_demo/testing_label_mask/1_label.mat; or training/frames/01, avenue.mat
    shanghaitech training/videos/01_001.avi or training/frames/01_001/*.jpg, testing/frames/01_0014/*.jpg,
                 testing/test_frame_mask/01_0014.npy and testing/test_pixel_mask/01_0014.npy
    folder       training/, testing/ with videos or image folders; testing/labels.json; or one folder or film: training only
"""

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vadfast.data import labels as read
from vadfast.data.masks import find_masks, find_tracks
from vadfast.errors import SourceError, UsageError
from vadfast.runtime.source import (
    VIDEO_SUFFIXES,
    Source,
    holds_images,
    is_film,
    is_visible,
    length_of,
    natural_sort,
    open_source,
)

log = logging.getLogger(__name__)

Kind = Literal["auto", "ped1", "ped2", "avenue", "shanghaitech", "folder"]

_TRAINING = ("training/frames", "training/videos", "training_videos", "Train", "training", "train")
_TESTING = ("testing/frames", "testing/videos", "testing_videos", "Test", "testing", "test")
_LABEL_FOLDERS = ("", "labels", "testing", "Test", "test")
_FRAME_MASKS = "testing/test_frame_mask"  # ShanghaiTech's labels, a file for each film
# What label files call a data set, where that is not what it is called here.
_LABEL_NAMES = {"shanghaitech": ("shanghaitech", "shanghai")}


@dataclass(frozen=True)
class Video:
    """One film with what is known about it.

    labels uint8 [n_frames] (1 = abnormal); masks() bool [n_frames, H, W]; tracks() int64 [n, 6], rows (track, frame, x1, y1,
    x2, y2) in pixels of the masks.
    """

    name: str
    source: Source
    labels: np.ndarray | None = None
    masks: Callable[[], np.ndarray] | None = None
    tracks: Callable[[], np.ndarray] | None = None


@dataclass(frozen=True)
class Dataset:
    """The films of a data set; ``label_source`` names the file that the labels came from."""

    kind: str
    root: Path
    train: tuple[Video, ...]
    test: tuple[Video, ...]
    label_source: str | None

    @property
    def fps(self) -> float | None:
        """Of the first training film."""
        return self.train[0].source.fps

    @property
    def implied(self) -> dict[str, Any]:
        """The options of a method that follow from the data: none, films are resized to what it wants."""
        return {}


def load_dataset(root: Path, kind: Kind = "auto") -> Dataset:
    """Finds the films and labels under ``root``; decodes nothing.

    Raises:
        UsageError: ``root`` is absent or holds no film.
        SourceError: a label file is damaged, or its length is not that of the film.
    """
    if not root.exists():
        raise UsageError(f"--data {root}: no such file or folder; check the path")
    if root.is_file():
        if root.suffix.lower() not in VIDEO_SUFFIXES:
            raise UsageError(
                f"--data {root}: must be a folder or a video ({', '.join(sorted(VIDEO_SUFFIXES))})"
            )
        return Dataset("folder", root, (Video(root.stem, open_source(root)),), (), None)
    train, test = _films(root, _TRAINING), _films(root, _TESTING)
    if not train and not test:
        # One folder of films, or one folder of frames: all of it is normal video to train on.
        inside = (
            [root]
            if holds_images(root)
            else [p for p in natural_sort(root.iterdir()) if _usable(p)]
        )
        if not inside:
            raise UsageError(
                f"--data {root}: must hold training/ and testing/ folders, videos, or folders of images; "
                "see docs/data.md for the layouts"
            )
        return Dataset("folder", root, tuple(_video(p) for p in inside), (), None)
    chosen = _recognise(root) if kind == "auto" else kind
    if kind == "auto":
        log.info("data: %s read as %s", root, chosen)
    labelled, label_source = _label(root, chosen, tuple(test))
    return Dataset(chosen, root, tuple(train), labelled, label_source)


def _films(root: Path, parts: tuple[str, ...]) -> list[Video]:
    for part in parts:
        folder = root / part
        if folder.is_dir():
            films = [p for p in natural_sort(folder.iterdir()) if _usable(p)]
            if films:
                return [_video(p) for p in films]
    return []


def _usable(path: Path) -> bool:
    return (
        is_visible(path)
        and not path.name.endswith("_gt")
        and path.name not in ("masks", "tracks", "test_frame_mask", "test_pixel_mask")
        and is_film(path)
    )


def _video(path: Path) -> Video:
    name = path.name if path.is_dir() else path.stem
    return Video(name, open_source(path, name=name))


def _recognise(root: Path) -> str:
    for kind in ("ped1", "ped2"):
        if _find(root, f"{kind}.mat", f"frame_labels_{kind}.npy", f"UCSD{kind}.m"):
            return kind
    if _find(root, "avenue.mat", "frame_labels_avenue.npy") or (root / "testing_videos").is_dir():
        return "avenue"
    if (root / _FRAME_MASKS).is_dir():
        return "shanghaitech"
    return "folder"


def _find(root: Path, *names: str) -> Path | None:
    for name in names:
        for folder in _LABEL_FOLDERS:
            if (root / folder / name).is_file():
                return root / folder / name
    return None


def _label(root: Path, kind: str, test: tuple[Video, ...]) -> tuple[tuple[Video, ...], str | None]:
    """The test films with labels and masks, and where the labels came from."""
    masked = tuple(
        replace(
            video,
            masks=find_masks(root, kind, video.source.path, video.name),
            tracks=find_tracks(root, video.name),
        )
        for video in test
    )
    found = _label_file(root, kind)
    if found is not None:
        return _from_file(found, masked), f"{root.name}/{found.relative_to(root)}"
    if (root / _FRAME_MASKS).is_dir():
        return _from_folder(root / _FRAME_MASKS, masked), f"{root.name}/{_FRAME_MASKS}"
    if masked and all(video.masks is not None for video in masked):
        # Masks label every frame that has an abnormal pixel. On Avenue these differ from avenue.mat in 441 frames.
        return tuple(
            replace(v, labels=_checked(_mask_labels(v), v, root)) for v in masked
        ), f"{root.name}: pixel masks"
    return masked, None


def _label_file(root: Path, kind: str) -> Path | None:
    names = ["labels.json", "gt_intervals.json"]
    if kind != "folder":
        for name in _LABEL_NAMES.get(kind, (kind,)):
            names += [f"{name}.mat", f"UCSD{name}.m", f"frame_labels_{name}.npy"]
    return _find(root, *names)


def _from_file(path: Path, test: tuple[Video, ...]) -> tuple[Video, ...]:
    if path.suffix == ".npy":
        return _split(read.read_npy(path), test, path)
    if path.suffix == ".json":
        by_name = read.read_json(path)
        missing = [v.name for v in test if v.name not in by_name]
        if missing:
            raise SourceError(
                f"{path}: must label every test video, lacks {missing[0]!r}; add it ([] if all is normal)"
            )
        spans = [by_name[v.name] for v in test]
    else:
        # Lists are in the order of the films' numbers, which also serves a part of the data set.
        listed = read.read_mat(path) if path.suffix == ".mat" else read.read_matlab_script(path)
        spans = [_numbered(listed, v, path) for v in test]
    return tuple(
        replace(v, labels=read.from_spans(s, length_of(v.source), where=f"{path}: video {v.name}"))
        for v, s in zip(test, spans, strict=True)
    )


def _from_folder(folder: Path, test: tuple[Video, ...]) -> tuple[Video, ...]:
    """A file NAME.npy for each film."""
    labelled = []
    for video in test:
        values = read.read_npy(folder / f"{video.name}.npy")
        if len(values) != length_of(video.source):
            raise SourceError(
                f"{folder}: {video.name}.npy must label the film's {length_of(video.source)} frames, got {len(values)}; check both"
            )
        labelled.append(replace(video, labels=values))
    return tuple(labelled)


def _numbered(listed: list[read.Spans], video: Video, path: Path) -> read.Spans:
    digits = re.findall(r"\d+", video.name)
    number = int(digits[-1]) if digits else 0
    if not 1 <= number <= len(listed):
        raise SourceError(
            f"{path}: labels {len(listed)} videos by number, none fits {video.name!r}; check both"
        )
    return listed[number - 1]


def _split(values: np.ndarray, test: tuple[Video, ...], path: Path) -> tuple[Video, ...]:
    lengths = [length_of(v.source) for v in test]
    if len(values) != sum(lengths):
        raise SourceError(
            f"{path}: must hold one label per test frame, {sum(lengths)} in {len(test)} videos, got {len(values)}; "
            "check that labels and films belong together"
        )
    ends = np.cumsum(lengths)[:-1]
    return tuple(
        replace(v, labels=part) for v, part in zip(test, np.split(values, ends), strict=True)
    )


def _checked(values: np.ndarray, video: Video, root: Path) -> np.ndarray:
    if len(values) != length_of(video.source):
        raise SourceError(
            f"{root}: the masks of {video.name} must cover {length_of(video.source)} frames, got {len(values)}; check both"
        )
    return values


def _mask_labels(video: Video) -> np.ndarray:
    if video.masks is None:
        raise SourceError(f"{video.name}: has no masks to take labels from")
    return np.asarray(video.masks().any(axis=(1, 2)), np.uint8)
