"""Features of all films packed into four arrays: index.json and {train,test}_{normal,anomalous}.npy [films, N, C].

The index has for every film its array and label; of films whose frames are labelled also ``n_frames`` and ``intervals``
(1-based, inclusive). A film without ``n_frames`` is taken to have ``n_snippets`` times the commonest ``frames_per_segment``: it is
normal, or has no labelled frames, so that only its share among the frames of all films rests on this.
"""

import json
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vadfast.arrays import read_array
from vadfast.data.feature_files import FeatureVideo, Snippets
from vadfast.data.labels import Spans
from vadfast.errors import SourceError

INDEX = "index.json"
_SPLITS = {
    "train_normal": False,
    "train_anomalous": True,
    "test_normal": False,
    "test_anomalous": True,
}


def read_packed(root: Path) -> tuple[list[FeatureVideo], list[FeatureVideo]]:
    """Returns the training and the test films of the arrays in ``root``.

    Raises:
        SourceError: the index is damaged, an array is missing or is not [films, N, C], or they do not belong together.
    """
    path = root / INDEX
    try:
        index: Any = json.loads(path.read_text(encoding="utf-8"))
        films: dict[str, list[tuple[str, dict[str, Any]]]] = {split: [] for split in _SPLITS}
        names = index.pop("_order", None) or {split: _of(index, split) for split in _SPLITS}
        for split, listed in names.items():
            films[split] = [(str(name), _entry(index, name, split)) for name in listed]
        per_snippet = _frames_per_snippet(index)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SourceError(
            f"{path}: must be an index of films with split and label, cannot be read ({type(error).__name__}: {error}); "
            "copy it again"
        ) from error
    videos = {
        split: _videos(root, split, of_split, per_snippet) for split, of_split in films.items()
    }
    return (
        videos["train_normal"] + videos["train_anomalous"],
        videos["test_normal"] + videos["test_anomalous"],
    )


def _of(index: dict[str, Any], split: str) -> list[str]:
    return [name for name, entry in index.items() if entry["split"] == split]


def _entry(index: dict[str, Any], name: str, split: str) -> dict[str, Any]:
    entry: dict[str, Any] = index[name]
    if entry["split"] != split or entry["label"] != int(_SPLITS[split]):
        raise ValueError(
            f"{name} is listed in {split}, and says split {entry['split']!r}, label {entry['label']!r}"
        )
    return entry


def _frames_per_snippet(index: dict[str, Any]) -> int | None:
    known = Counter(e["frames_per_segment"] for e in index.values() if "frames_per_segment" in e)
    return int(known.most_common(1)[0][0]) if known else None


def _videos(
    root: Path, split: str, films: list[tuple[str, dict[str, Any]]], per_snippet: int | None
) -> list[FeatureVideo]:
    path = root / f"{split}.npy"
    if not films and not path.exists():
        return []
    array = read_array(
        path, f"the array of {len(films)} films", mend="copy it again", mmap_mode="r"
    )
    if array.ndim != 3 or array.dtype.kind != "f" or len(array) != len(films) or not array.size:
        raise SourceError(
            f"{path}: must be numbers [{len(films)}, N, C] like {INDEX}, got {array.dtype} {list(array.shape)}; "
            "copy both again"
        )
    videos = []
    for row, (name, entry) in enumerate(films):
        where = f"{root / INDEX}: {name}"
        n_frames = _n_frames(where, entry, per_snippet)
        spans = _spans(where, entry) if _SPLITS[split] else []
        videos.append(
            FeatureVideo(
                name=name,
                abnormal=_SPLITS[split],
                read=partial(_row, path, array, row, n_frames),
                spans=spans,
            )
        )
    return videos


def _row(path: Path, array: np.ndarray, row: int, n_frames: int | None) -> Snippets:
    features = np.asarray(array[row], dtype=np.float32)
    if not np.isfinite(features).all():
        raise SourceError(
            f"{path}: row {row} must hold finite numbers, got NaN or infinity; copy it again"
        )
    return Snippets(features, n_frames)


def _n_frames(where: str, entry: dict[str, Any], per_snippet: int | None) -> int | None:
    n_frames = entry.get("n_frames")
    if n_frames is None and per_snippet is not None and "n_snippets" in entry:
        n_frames = entry["n_snippets"] * per_snippet
    if n_frames is not None and (type(n_frames) is not int or n_frames < 1):
        raise SourceError(
            f"{where}: must have a whole number of frames above 0, got {n_frames!r:.40}; "
            "write n_frames anew, or leave it out if it is not known"
        )
    return n_frames


def _spans(where: str, entry: dict[str, Any]) -> Spans | None:
    intervals = entry.get("intervals")
    if intervals is None:
        return None
    try:
        spans = [(int(first) - 1, int(last) - 1) for first, last in intervals]
    except (TypeError, ValueError) as error:
        raise SourceError(
            f"{where}: intervals must be [[first, last], ...], got {intervals!r:.60}; "
            "write them anew, or leave them out if they are not known"
        ) from error
    if any(not 0 <= first <= last for first, last in spans):
        raise SourceError(
            f"{where}: intervals must be 1-based and in order, got {intervals!r:.60}; count frames from 1"
        )
    return spans
