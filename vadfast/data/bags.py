"""Data sets of features: films as bags of segments, of which training knows only whether something abnormal is in them.

    packed      index.json and four arrays                          packed_features.py
    listed      feature files anywhere below the folder, and lists  video_lists.py, feature_files.py

A film in a list belongs to the feature file of its name, which may go on with ``_C`` or ``_i3d`` and the like.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from vadfast.arrays import read_array
from vadfast.data.feature_files import SUFFIXES, FeatureVideo, may_be_segments, read_features
from vadfast.data.packed_features import INDEX, read_packed
from vadfast.data.segments import pool_segments
from vadfast.data.video_lists import Listed, has_ucf_lists, read_annotation, read_lists
from vadfast.errors import SourceError, UsageError
from vadfast.progress import steps

FeatureKind = Literal["auto", "features", "ucf-crime"]
_ANNOTATION = "Temporal_Anomaly_Annotation*.txt"


@dataclass(frozen=True, slots=True)
class FeatureSet:
    """The films of a data set of features."""

    root: Path
    train: tuple[FeatureVideo, ...]
    test: tuple[FeatureVideo, ...]
    label_source: str  # the file that says what is abnormal
    n_features: int  # C of the first film; stack_bags holds the others to it
    kind: str = "features"  # or "ucf-crime", whose papers' numbers its own are compared with

    fps = None  # a film's own is not known

    @property
    def implied(self) -> dict[str, Any]:
        """The options of a method that follow from the data."""
        return {"n_features": self.n_features}


def load_features(root: Path, kind: FeatureKind = "auto") -> FeatureSet:
    """Finds films and labels under ``root``; reads one feature file, for the width, and of others no more than the header.

    A set with UCF-Crime's own lists is UCF-Crime; of other layouts ``kind`` may say so.

    Raises:
        UsageError: ``root`` is absent or is no data set of features.
        SourceError: lists, index and feature files do not belong together, or one is damaged.
    """
    if not root.is_dir():
        raise UsageError(f"--data {root}: must be a folder of features, is not; check the path")
    if (root / INDEX).is_file():
        train, test = read_packed(root)
        source = INDEX
    else:
        train, test, source = _listed(root)
    if not train and not test:
        raise SourceError(f"{root / source}: must name films, names none; see docs/data.md")
    n_features = (train or test)[0].read().features.shape[1]
    if kind == "auto":
        kind = "ucf-crime" if has_ucf_lists(root) else "features"
    return FeatureSet(root, tuple(train), tuple(test), source, n_features, kind)


def _listed(root: Path) -> tuple[list[FeatureVideo], list[FeatureVideo], str]:
    lists = read_lists(root)
    if lists is None:
        raise UsageError(
            f"--data {root}: must hold index.json, or feature files and lists (train_normal.txt, train_abnormal.txt, "
            "..., or Anomaly_Train.txt), has neither; see docs/data.md for the layouts"
        )
    annotations = sorted(root.glob(_ANNOTATION))
    annotation = read_annotation(annotations[0]) if annotations else {}
    files = _feature_files(root)
    paths = {
        part: [_feature_file(root, listed, files, part) for listed in of_part]
        for part, of_part in lists.items()
    }
    read = partial(
        read_features, by_snippet=_are_by_snippet([p for of in paths.values() for p in of])
    )
    parts = {
        part: [
            FeatureVideo(
                listed.name,
                listed.abnormal,
                partial(read, path),
                annotation.get(listed.name) if listed.abnormal else [],
            )
            for listed, path in zip(lists[part], paths[part], strict=True)
        ]
        for part in lists
    }
    return parts["train"], parts["test"], annotations[0].name if annotations else "lists of films"


def _feature_files(root: Path) -> dict[str, list[Path]]:
    """Feature files by their stem; the text files of the folder itself are lists."""
    files: dict[str, list[Path]] = {}
    for path in sorted(root.rglob("*")):
        is_list = path.suffix == ".txt" and path.parent == root
        if path.suffix in SUFFIXES and path.is_file() and not is_list:
            files.setdefault(path.stem, []).append(path)
    return files


def _feature_file(root: Path, listed: Listed, files: dict[str, list[Path]], part: str) -> Path:
    found = files.get(listed.name) or [
        path
        for stem, of_stem in files.items()
        if stem.startswith(f"{listed.name}_")
        for path in of_stem
    ]
    if not found:
        raise SourceError(
            f"{root}: the {part} film {listed.name} must have one feature file, has none; "
            "extract its features (python -m vadfast.features) or take it off the list"
        )
    if len(found) > 1:
        raise SourceError(
            f"{root}: the {part} film {listed.name} must have one feature file, has {len(found)}: "
            f"{found[0].relative_to(root)} and {found[1].relative_to(root)}; keep those of one extractor here"
        )
    return found[0]


def _are_by_snippet(paths: Sequence[Path]) -> bool:
    """Whether a row of the plain npy files is a snippet: who pools films into 32 segments leaves none with other rows."""
    shapes = (
        read_array(path, "features [n, C]", mend="copy it again", mmap_mode="r").shape
        for path in paths
        if path.suffix == ".npy"
    )
    return any(len(shape) == 2 and not may_be_segments(shape) for shape in shapes)


@dataclass(frozen=True, slots=True)
class Stacked:
    """Bags float32 [V, N, C], pooled, and how many frames each film has."""

    bags: npt.NDArray[np.float32]
    n_frames: tuple[int | None, ...]


def stack_bags(
    videos: Sequence[FeatureVideo], *, n_segments: int, n_features: int, name: str
) -> Stacked:
    """Reads and pools films; ``name`` is what the progress bar says.

    Raises:
        SourceError: a film cannot be read, or its features have another width.
    """
    bags = np.empty((len(videos), n_segments, n_features), np.float32)
    n_frames = []
    with steps(name, len(videos), unit="films") as bar:
        for row, video in enumerate(videos):
            snippets = video.read()
            width = snippets.features.shape[1]
            if width != n_features:
                raise SourceError(
                    f"{video.name}: must have features of {n_features} numbers like the model, has {width}; "
                    "use features of one extractor"
                )
            bags[row] = pool_segments(snippets.features, n_segments)
            n_frames.append(snippets.n_frames)
            bar.advance()
    return Stacked(bags, tuple(n_frames))
