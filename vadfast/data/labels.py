"""Frame labels and pixel masks in the forms that data sets come with; nothing here ever unpickles.

Every reader returns what is written in the file; ``datasets`` matches lengths to films.
"""

import json
import re
from pathlib import Path

import numpy as np

from vadfast.arrays import read_archive, read_array
from vadfast.errors import SourceError

# First and last abnormal frame of each event, 0-based, both inclusive.
Spans = list[tuple[int, int]]


def from_spans(spans: Spans, n_frames: int, *, where: str) -> np.ndarray:
    """Labels uint8 [n_frames], 1 inside a span.

    Raises:
        SourceError: a span leaves the film or runs backwards.
    """
    labels = np.zeros(n_frames, np.uint8)
    for first, last in spans:
        if not 0 <= first <= last < n_frames:
            raise SourceError(
                f"{where}: an abnormal span must lie in frames 0 to {n_frames - 1}, got {first} to {last}; "
                "check that labels and film belong together"
            )
        labels[first : last + 1] = 1
    return labels


def spans_of(labels: np.ndarray) -> Spans:
    """The runs of 1 in ``labels`` [n_frames]; ``from_spans`` backwards.

    >>> spans_of(np.array([1, 0, 1, 1]))
    [(0, 0), (2, 3)]
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[0], labels, [0]]).astype(np.int8)))
    return [(int(first), int(end) - 1) for first, end in edges.reshape(-1, 2)]


def read_json(path: Path) -> dict[str, Spans]:
    """``labels.json`` of a plain folder: {"video name": [[first, last], ...]}, 0-based, inclusive; [] is all normal.

    Also reads ``gt_intervals.json`` with {"name": {"n_frames": n, "anomalous_1based_inclusive": [[first, last], ...]}}.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise TypeError(f"top level is {type(values).__name__}")
        return {str(name): _json_spans(value) for name, value in values.items()}
    except (
        json.JSONDecodeError,
        UnicodeDecodeError,
        KeyError,
        TypeError,
        ValueError,
        RecursionError,
    ) as error:
        raise SourceError(
            f'{path}: must be {{"video": [[first, last], ...]}} with 0-based inclusive frames, cannot be read ({error})'
        ) from error


def _json_spans(value: object) -> Spans:
    offset = 0
    if isinstance(value, dict):
        value, offset = value["anomalous_1based_inclusive"], 1
    if not isinstance(value, list):
        raise TypeError(f"a list of spans expected, got {value!r:.40}")
    spans: Spans = []
    for first, last in value:
        if type(first) is not int or type(last) is not int:
            raise TypeError(f"frame numbers must be integers, got {first!r:.20}, {last!r:.20}")
        spans.append((first - offset, last - offset))
    return spans


def read_matlab_script(path: Path) -> list[Spans]:
    """``UCSDped1.m``, ``UCSDped2.m`` as distributed: ``TestVideoFile{end+1}.gt_frame = [61:180, 190:200];``, 1-based."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{path}: must be the text file UCSDped*.m, is not text ({error.reason})"
        ) from error
    videos = re.findall(r"gt_frame\s*=\s*\[([^\]]*)\]", text)
    if not videos:
        raise SourceError(
            f"{path}: must hold lines 'gt_frame = [first:last];', it has none; restore the file"
        )
    return [
        [
            (int(first) - 1, int(last or first) - 1)
            for first, last in re.findall(r"(\d+)(?:\s*:\s*(\d+))?", video)
        ]
        for video in videos
    ]


def read_mat(path: Path) -> list[Spans]:
    """ano_pred's ``ped2.mat``, ``avenue.mat``: cell ``gt`` of 2 x E arrays [start; end], 1-based inclusive."""
    cell = load_mat(path, "gt")
    spans: list[Spans] = []
    for video in (
        cell.reshape(-1) if cell.dtype == object else np.moveaxis(np.atleast_3d(cell), -1, 0)
    ):
        spans.append(_mat_spans(path, len(spans) + 1, np.asarray(video)))
    return spans


def _mat_spans(path: Path, number: int, events: np.ndarray) -> Spans:
    # A single event is squeezed to shape (2,) or (1, 2), and no event at all to an empty array.
    if not events.size:
        return []
    if not _is_pairs(events):
        raise SourceError(
            f"{path}: the events of video {number} must be finite numbers [2, n], starts above ends, "
            f"got {events.dtype} {list(events.shape)}; download it again"
        )
    return [(int(first) - 1, int(last) - 1) for first, last in events.reshape(2, -1).T]


def _is_pairs(events: np.ndarray) -> bool:
    if events.dtype.kind not in "uif" or events.ndim not in (1, 2):
        return False
    return (len(events) == 2 or events.size == 2) and bool(np.isfinite(events).all())


def load_mat(path: Path, key: str) -> np.ndarray:
    """One variable of a MATLAB file.

    Raises:
        SourceError: the file cannot be read or lacks the variable.
    """
    from scipy.io import loadmat

    try:
        values = loadmat(str(path))
    # SciPy's reader meets damaged files with many kinds of errors; each means the same to a user.
    except Exception as error:
        raise SourceError(
            f"{path}: must be a MATLAB file, cannot be read ({error}); download it again"
        ) from error
    if key not in values:
        raise SourceError(
            f"{path}: must hold the variable {key!r}, has {sorted(k for k in values if k[0] != '_')}; "
            "download it again"
        )
    return np.asarray(values[key])


def read_npy(path: Path) -> np.ndarray:
    """``frame_labels_*.npy``: all test films concatenated, shape (1, N) or (N,), 1 = abnormal; uint8 [N]."""
    values = np.squeeze(read_array(path, "an npy array of 0 and 1", mend="restore the file"))
    if values.ndim != 1 or not np.isin(values, (0, 1)).all():
        raise SourceError(
            f"{path}: must be one row of 0 and 1, got shape {list(values.shape)}; restore the file"
        )
    return values.astype(np.uint8)


def read_packed_masks(path: Path, name: str, width: int) -> np.ndarray:
    """Pixel masks stored as ``np.packbits`` on the last axis under ``name`` in an npz; bool [T, H, width]."""
    mend = "restore the file, or take it away to go without masks"
    packed = read_archive(path, [name], f"the masks of {name!r} as packed bits", mend=mend)[name]
    n_bytes = (width + 7) // 8
    if packed.dtype != np.uint8 or packed.ndim != 3 or packed.shape[2] != n_bytes:
        raise SourceError(
            f"{path}: the masks of {name!r} must be packed bits, uint8 [n_frames, H, {n_bytes}], "
            f"got {packed.dtype} {list(packed.shape)}; {mend}"
        )
    return np.unpackbits(packed, axis=-1)[..., :width].astype(bool)


def read_tracks(path: Path) -> np.ndarray:
    """Tracks of a film, a line ``track,frame,x1,y1,x2,y2`` for each box: frames from 0, corners included; int64 [n, 6]."""
    mend = "write it anew, or take it away to go without TBDC (docs/data.md)"
    try:
        rows = np.loadtxt(path, delimiter=",", dtype=np.float64, ndmin=2)
    except (OSError, ValueError) as error:
        raise SourceError(
            f"{path}: must hold lines track,frame,x1,y1,x2,y2, cannot be read ({error}); {mend}"
        ) from error
    if rows.shape[1] != 6 or not np.isfinite(rows).all():
        raise SourceError(
            f"{path}: must hold lines track,frame,x1,y1,x2,y2 of finite numbers, got {rows.shape[1]} columns"
            f"{_first(rows)}; {mend}"
        )
    tracks = rows.astype(np.int64)
    if (tracks[:, 4:] < tracks[:, 2:4]).any() or (tracks[:, 1:] < 0).any():
        raise SourceError(
            f"{path}: must hold lines track,frame,x1,y1,x2,y2 with x1 <= x2 and y1 <= y2 and none below 0"
            f"{_first(rows)}; {mend}"
        )
    return tracks


def _first(rows: np.ndarray) -> str:
    return f", first line {rows[0].tolist()}" if len(rows) else ""
