"""Where frames come from: a video file or a folder of images, as RGB uint8 with their number and time.

Frames before a fault are always yielded first; then the fault is raised as one ``SourceError``. So a truncated film still
gives every frame it has, and its reader decides what they are worth.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from vadfast.errors import SourceError, UsageError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp"})
VIDEO_SUFFIXES = frozenset(
    {".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".ts"}
)


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded frame: image uint8 [H, W, 3] RGB, its 0-based number in decode order, and its time from the start."""

    image: np.ndarray
    index: int
    time_s: float


class Source(Protocol):
    """A film that can be read from its start as often as needed, in constant memory."""

    @property
    def name(self) -> str:
        """How results name it."""

    @property
    def path(self) -> Path:
        """The file or folder."""

    @property
    def fps(self) -> float | None:
        """Frames per second; None for a folder of images, whose ``time_s`` then counts frames."""

    @property
    def n_frames(self) -> int | None:
        """Exact for folders, as the container declares it for videos, None where it does not."""

    def __iter__(self) -> Iterator[Frame]: ...


class VideoSource:
    """A video file, decoded by FFmpeg through PyAV; its header is read when it is first asked about or iterated."""

    def __init__(self, path: Path, *, name: str | None = None) -> None:
        self.path = path
        self.name = name or path.name
        self._header: tuple[float | None, int | None] | None = None

    @property
    def fps(self) -> float | None:
        return self._read_header()[0]

    @property
    def n_frames(self) -> int | None:
        return self._read_header()[1]

    def __iter__(self) -> Iterator[Frame]:
        size: tuple[int, ...] | None = None
        n_read = 0
        with self._open() as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            declared = stream.frames or None
            rate = float(stream.average_rate) if stream.average_rate else 25.0
            start = stream.start_time or 0
            try:
                for decoded in container.decode(stream):
                    image = decoded.to_ndarray(format="rgb24")
                    size = _same_size(image, size, f"{self.path}: frame {n_read}")
                    # Some containers carry no time stamps: then the frame rate is the clock.
                    timed = decoded.pts is not None and stream.time_base is not None
                    time_s = (
                        float((decoded.pts - start) * stream.time_base) if timed else n_read / rate
                    )
                    yield Frame(image, n_read, time_s)
                    n_read += 1
            except _pyav(self.path).FFmpegError as error:
                raise SourceError(
                    f"{self.path}: decoding stopped after {n_read} frames ({error.strerror}); "
                    "the file is damaged: copy it again or cut it there"
                ) from error
        if n_read == 0:
            raise SourceError(
                f"{self.path}: must hold at least one frame, none could be decoded; copy the file again"
            )
        if declared and n_read < declared - _may_lack(declared):
            raise SourceError(
                f"{self.path}: is truncated, it declares {declared} frames and {n_read} could be decoded; copy it again"
            )

    def _read_header(self) -> tuple[float | None, int | None]:
        if self._header is None:
            # A file that cannot be opened declares nothing; its fault is raised when it is read,
            # so that one bad film in a folder does not stop the others.
            try:
                with self._open() as container:
                    stream = container.streams.video[0]
                    rate = float(stream.average_rate) if stream.average_rate else None
                    self._header = rate, stream.frames or None
            except SourceError:
                self._header = None, None
        return self._header

    def _open(self) -> Any:
        av = _pyav(self.path)
        try:
            container = av.open(str(self.path))
        except (av.FFmpegError, OSError) as error:
            raise SourceError(
                f"{self.path}: must be a video, cannot be opened ({error.strerror}); "
                "check that it plays and was copied whole"
            ) from error
        if not container.streams.video:
            container.close()
            raise SourceError(
                f"{self.path}: must hold a video stream, it has none; name another file"
            )
        return container


def _pyav(film: Path) -> Any:
    """The module; some boxes go without it, because its wheel holds GPL code, and take frames from their own decoder."""
    try:
        import av
    except ImportError as error:
        raise SourceError(
            f"{film}: decoding needs PyAV, which cannot be imported ({error}); pip install av, or give a folder of pictures"
        ) from error
    return av


def _may_lack(declared: int) -> int:
    """How many frames fewer than its container declares a whole film may have; docs/data.md says so.

    Encoders count what they were given, and drop one at the end or at a cut; more than 1 % is a film that was cut short.
    """
    return max(2, declared // 100)


def length_of(source: Source) -> int:
    """How many frames ``source`` declares; counted, by decoding it once, where its container declares none."""
    return source.n_frames if source.n_frames is not None else sum(1 for _ in source)


class FolderSource:
    """A folder of images, one a frame, in natural order of their names."""

    def __init__(self, path: Path, *, name: str | None = None, fps: float | None = None) -> None:
        self.path = path
        self.name = name or path.name
        self.fps = fps
        self.files = natural_sort(
            p for p in path.iterdir() if is_visible(p) and p.suffix.lower() in IMAGE_SUFFIXES
        )
        if not self.files:
            raise UsageError(
                f"{path}: must hold images ({', '.join(sorted(IMAGE_SUFFIXES))}), it has none; name another folder"
            )

    @property
    def n_frames(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[Frame]:
        size: tuple[int, ...] | None = None
        for index, file in enumerate(self.files):
            image = read_image(file)
            size = _same_size(image, size, str(file))
            yield Frame(image, index, index / (self.fps or 1.0))


def read_image(file: Path) -> np.ndarray:
    """An image file as RGB uint8 [H, W, 3]: grey is repeated, alpha dropped, 16 bits cut to the upper 8.

    Raises:
        SourceError: it cannot be read, or has another kind of pixel.
    """
    import cv2

    # imdecode on the bytes, not imread: OpenCV's own file access fails on non-ASCII names on some platforms.
    try:
        data = np.frombuffer(file.read_bytes(), np.uint8)
    except OSError as error:
        raise SourceError(
            f"{file}: cannot be read ({error.strerror}); check its permissions"
        ) from error
    image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    if image is None:
        raise SourceError(
            f"{file}: must be an image, cannot be decoded; copy it again or delete it"
        )
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    if image.dtype != np.uint8:
        raise SourceError(
            f"{file}: pixels must be 8 or 16 bit integers, got {image.dtype}; convert the image"
        )
    if image.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    return cv2.cvtColor(image, cv2.COLOR_BGRA2RGB if image.shape[2] == 4 else cv2.COLOR_BGR2RGB)


def open_source(path: Path, *, name: str | None = None) -> Source:
    """The film at ``path``: a folder of images or a video file.

    Raises:
        UsageError: nothing is there, or it is a folder without images.
    """
    if path.is_dir():
        return FolderSource(path, name=name)
    if not path.exists():
        raise UsageError(f"{path}: no such file or folder; check the path")
    return VideoSource(path, name=name)


def find_sources(paths: Sequence[Path]) -> list[Source]:
    """All films under ``paths``: a file is a video, a folder of images is one film, any other folder is searched one level.

    Raises:
        UsageError: a path is absent, or holds no film at all.
    """
    found: list[Source] = []
    for path in map(Path, paths):
        if not path.is_dir() or holds_images(path):
            found.append(open_source(path))
            continue
        inside: list[Source] = [
            open_source(child)
            for child in natural_sort(path.iterdir())
            if is_visible(child) and is_film(child)
        ]
        if not inside:
            raise UsageError(
                f"{path}: must hold videos ({', '.join(sorted(VIDEO_SUFFIXES))}) or images, it has none; "
                "name another folder"
            )
        found += inside
    return found


def is_film(path: Path) -> bool:
    """Whether ``path`` is a video file by its suffix, or a folder that holds images."""
    return holds_images(path) if path.is_dir() else path.suffix.lower() in VIDEO_SUFFIXES


def holds_images(folder: Path) -> bool:
    """Whether ``folder`` directly holds at least one image."""
    return any(is_visible(p) and p.suffix.lower() in IMAGE_SUFFIXES for p in folder.iterdir())


def is_visible(path: Path) -> bool:
    """False for hidden files: ``.DS_Store`` and the ``._*`` twins that Mac copies of data sets carry."""
    return not path.name.startswith(".")


def natural_sort(paths: Any) -> list[Path]:
    """Sorts 2 before 10: digits in a name compare as numbers."""
    return sorted(
        paths,
        key=lambda p: [
            (0, int(s), "") if s.isdecimal() else (1, 0, s) for s in re.split(r"(\d+)", p.name) if s
        ],
    )


def _same_size(image: np.ndarray, size: tuple[int, ...] | None, where: str) -> tuple[int, ...]:
    if size is not None and image.shape != size:
        raise SourceError(
            f"{where}: must be {size[1]}x{size[0]} like the frames before it, got {image.shape[1]}x{image.shape[0]}; "
            "split the film where its size changes"
        )
    return image.shape
