"""Features of one film on disk, in the forms that people publish them; nothing here ever unpickles.

NAME.txt    C3D as Sultani et al. distribute it: 32 lines of 4096 numbers, a line a segment
NAME.npy    [n, C] I3D, a row a snippet of 16 frames; [n, crops, C] as RTFM has them (10 crops): their mean is taken
NAME.npz    an array ``features`` in either form, and ``n_frames`` where it is known
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vadfast.data.labels import Spans
from vadfast.errors import SourceError

SUFFIXES = (".txt", ".npy", ".npz")
FRAMES_PER_SNIPPET = 16


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


def read_features(path: Path) -> Snippets:
    """Reads one file.

    Raises:
        SourceError: it cannot be read, holds no numbers, or a shape or value that features cannot have.
    """
    try:
        if path.suffix == ".txt":
            return Snippets(_checked(path, _text(path)), None)
        if path.suffix == ".npy":
            values = np.load(path, allow_pickle=False)
            features = _checked(path, values)
            return Snippets(features, FRAMES_PER_SNIPPET * len(features))
        if path.suffix == ".npz":
            return _archive(path)
    # A damaged archive raises what zipfile and zlib raise, and the reader of npy headers a SyntaxError.
    except SourceError:
        raise
    except Exception as error:
        raise SourceError(
            f"{path}: must hold features ({_FORMS}), cannot be read ({type(error).__name__}: {error}); copy it again"
        ) from error
    raise SourceError(
        f"{path}: must be a feature file ({', '.join(SUFFIXES)}), got {path.suffix!r}"
    )


_FORMS = "lines of numbers, npy [n, C] or [n, crops, C], or npz with 'features'"


def _text(path: Path) -> np.ndarray:
    rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    widths = {len(row) for row in rows}
    if len(widths) != 1:
        raise SourceError(
            f"{path}: must have as many numbers on every line, got {sorted(widths) or 'no line at all'}; copy it again"
        )
    return np.array(rows, dtype=np.float32)


def _archive(path: Path) -> Snippets:
    with np.load(path, allow_pickle=False) as stored:
        if "features" not in stored:
            raise SourceError(
                f"{path}: must hold an array 'features', has {', '.join(stored.files) or 'none'}; write it anew"
            )
        features = _checked(path, stored["features"])
        if "n_frames" not in stored:
            return Snippets(features, None)
        n_frames = np.asarray(stored["n_frames"])
    if n_frames.size != 1 or n_frames.dtype.kind not in "iu" or n_frames.item() < 1:
        raise SourceError(f"{path}: n_frames must be one whole number above 0; write it anew")
    return Snippets(features, int(n_frames.item()))


def _checked(path: Path, values: object) -> npt.NDArray[np.float32]:
    """[n, C] of [n, C] or [n, crops, C], finite."""
    features = np.asarray(values)
    if features.dtype.kind not in "fiu" or features.ndim not in (2, 3):
        raise SourceError(
            f"{path}: must hold numbers [n, C] or [n, crops, C], got {features.dtype} {list(features.shape)}"
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
