"""Which films are normal, which abnormal and where, as text: lists of films, and UCF-Crime's temporal annotation.

train_normal.txt, train_abnormal.txt, test_normal.txt, test_abnormal.txt     a film a line
Anomaly_Train.txt, Anomaly_Test.txt                                          UCF-Crime's: normal films have "Normal" in their name
Temporal_Anomaly_Annotation*.txt                                             name class first last first last, 1-based, -1: none
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from vadfast.data.labels import Spans
from vadfast.errors import SourceError

PARTS = ("train", "test")
_UCF = {"train": "Anomaly_Train.txt", "test": "Anomaly_Test.txt"}


@dataclass(frozen=True, slots=True)
class Listed:
    """A film by the name of its file without folder and ending, and whether it is abnormal."""

    name: str
    abnormal: bool


def read_lists(root: Path) -> dict[str, list[Listed]] | None:
    """Returns the films of ``train`` and ``test`` by the lists in ``root``, or None where it has no list.

    Raises:
        SourceError: a list is not text, or a film is listed twice.
    """
    found: dict[str, list[Listed]] = {part: [] for part in PARTS}
    files = []
    for part in PARTS:
        for word, abnormal in (("normal", False), ("abnormal", True)):
            path = root / f"{part}_{word}.txt"
            if path.is_file():
                files.append(path)
                found[part] += [Listed(name, abnormal) for name in _names(path)]
        ucf = root / _UCF[part]
        if ucf.is_file():
            files.append(ucf)
            found[part] += [Listed(name, "normal" not in name.lower()) for name in _names(ucf)]
    if not files:
        return None
    _check_unique(root, (listed.name for part in PARTS for listed in found[part]))
    return found


def has_ucf_lists(root: Path) -> bool:
    """Whether ``root`` has a list that UCF-Crime comes with."""
    return any((root / name).is_file() for name in _UCF.values())


def read_annotation(path: Path) -> dict[str, Spans]:
    """UCF-Crime's annotation of test films: by name the abnormal spans, 0-based and inclusive.

    Raises:
        SourceError: a line is not ``name class`` and pairs of frame numbers.
    """
    annotation: dict[str, Spans] = {}
    for number, line in enumerate(_lines(path), 1):
        words = line.split()
        if not words:
            continue
        where = f"{path}: line {number}"
        try:
            frames = [int(word) for word in words[2:]]
        except ValueError as error:
            raise SourceError(
                f"{where}: {_WANTED}, got {line.strip()!r:.80}; mend the line"
            ) from error
        if len(words) < 4 or len(frames) % 2:
            raise SourceError(f"{where}: {_WANTED}, got {line.strip()!r:.80}; mend the line")
        spans = []
        for first, last in zip(frames[::2], frames[1::2], strict=True):
            if first == last == -1:
                continue
            if not 1 <= first <= last:
                raise SourceError(
                    f"{where}: a span must be two 1-based frames in order, or -1 -1, got {first} {last}; "
                    "mend the line"
                )
            spans.append((first - 1, last - 1))
        name = stem(words[0])
        if name in annotation:
            raise SourceError(f"{where}: {name} is annotated twice; leave one line")
        annotation[name] = spans
    return annotation


_WANTED = "must be 'name class first last first last'"


def stem(path: str) -> str:
    """The film's name in a list: "Abuse/Abuse001_x264.mp4" -> "Abuse001_x264"."""
    return PurePosixPath(path.replace("\\", "/")).stem


def _names(path: Path) -> list[str]:
    # A line may go on after the name: labels, frame counts.
    return [stem(line.split()[0]) for line in _lines(path) if line.split()]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{path}: must be a text file, is not ({error.reason}); save it as UTF-8"
        ) from error


def _check_unique(root: Path, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise SourceError(
                f"{root}: {name} is listed twice; "
                "a film is normal or abnormal, for training or for testing: leave one line"
            )
        seen.add(name)
