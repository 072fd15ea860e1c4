"""Features of one film on disk, in the forms that people publish them; nothing here ever unpickles.

NAME.txt    C3D as Sultani et al. distribute it: 32 lines of 4096 numbers, a line a segment
NAME.npy    [n, C] I3D, a row a snippet of 16 frames; [n, crops, C] as RTFM has them (10 crops): their mean is taken.
            [32, C] may be snippets of a film of 512 frames or, as seominseok has them, the segments of one of any length: the file
            does not say which, so its film has no known length, unless its data set shows that its rows are snippets (bags.py)
NAME.npz    an array ``features`` in either form, and ``n_frames`` where it is known
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vadfast.arrays import read_archive, read_array
from vadfast.data.labels import Spans
from vadfast.errors import SourceError

SUFFIXES = (".txt", ".npy", ".npz")
FRAMES_PER_SNIPPET = 16
N_SEGMENTS = 32  # of those who pool before they publish: Sultani et al., seominseok


@dataclass(frozen=True, slots=True)
class Snippets:
    """Features float32 [n, C] in the order of the film, and how many frames they stand for: None where nothing says."""

    features: npt.NDArray[np.float32]
    n_frames: int | None


@dataclass(frozen=True, slots=True)
class FeatureVideo:
    """A film by its features; ``spans`` are the abnormal ones, 0-based inclusive: [] where all is normal, None where unknown."""

    name: str
    abnormal: bool
    read: Callable[[], Snippets]
    spans: Spans | None


def read_features(path: Path, *, by_snippet: bool = False) -> Snippets:
    """Reads one file.

    Args:
        path: the file.
        by_snippet: a plain npy of 32 rows is known to have a row a snippet: others of its data set do not have 32 rows.

    Raises:
        SourceError: it cannot be read, holds no numbers, or a shape or value that features cannot have.
    """
    if path.suffix == ".txt":
        return Snippets(_checked(path, _text(path)), None)
    if path.suffix == ".npy":
        values = read_array(path, _FORMS, mend=_MEND)
        features = _checked(path, values)
        known = by_snippet or not may_be_segments(values.shape)
        return Snippets(features, FRAMES_PER_SNIPPET * len(features) if known else None)
    if path.suffix == ".npz":
        return _archive(path)
    raise SourceError(
        f"{path}: must be a feature file ({', '.join(SUFFIXES)}), got {path.suffix!r}; name it by what it is"
    )


def may_be_segments(shape: tuple[int, ...]) -> bool:
    """Whether features of this shape, [n, C], may be the 32 segments of a film of any length instead of its snippets."""
    return len(shape) == 2 and shape[0] == N_SEGMENTS


_FORMS = "features (lines of numbers, npy [n, C] or [n, crops, C], or npz with 'features')"
_MEND = "copy it again"


def _text(path: Path) -> np.ndarray:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        rows = [np.array(line.split(), dtype=np.float32) for line in lines if line.strip()]
    except (OSError, ValueError) as error:
        raise SourceError(f"{path}: must be {_FORMS}, cannot be read ({error}); {_MEND}") from error
    widths = {len(row) for row in rows}
    if len(widths) != 1:
        raise SourceError(
            f"{path}: must have as many numbers on every line, got {sorted(widths) or 'no line at all'}; {_MEND}"
        )
    return np.stack(rows)


def _archive(path: Path) -> Snippets:
    found = read_archive(path, ["features"], _FORMS, optional=["n_frames"], mend="write it anew")
    features, n_frames = _checked(path, found["features"]), found.get("n_frames")
    if n_frames is None:
        return Snippets(features, None)
    if n_frames.size != 1 or n_frames.dtype.kind not in "iu" or n_frames.item() < 1:
        raise SourceError(f"{path}: n_frames must be one whole number above 0; write it anew")
    return Snippets(features, int(n_frames.item()))


def _checked(path: Path, values: object) -> npt.NDArray[np.float32]:
    """[n, C] of [n, C] or [n, crops, C], finite."""
    features = np.asarray(values)
    if features.dtype.kind not in "fiu" or features.ndim not in (2, 3):
        raise SourceError(
            f"{path}: must hold numbers [n, C] or [n, crops, C], got {features.dtype} {list(features.shape)}; "
            "extract them again (python -m vadfast.features)"
        )
    if features.size == 0:
        raise SourceError(
            f"{path}: an empty bag, features {list(features.shape)}; extract them again or leave the film out"
        )
    features = features.astype(np.float32)
    if features.ndim == 3:
        features = features.mean(axis=1)
    if not np.isfinite(features).all():
        raise SourceError(
            f"{path}: must hold finite numbers, got NaN or infinity; extract them again"
        )
    return features
