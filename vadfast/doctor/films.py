"""What one frame of a camera costs before the engine sees it: decoded as every reader here does, resized, shown to the teachers.

Without a film of the user's camera, clips are made: the synthetic scene at a common camera size, with a sensor's noise, coded
in H.264 at a bit rate that cameras of that size send. Decoding time follows the bit rate, so a film of the real camera is better.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt

from vadfast.doctor.memory import camera_mb
from vadfast.errors import SourceError, UsageError
from vadfast.runtime.manifest import InputSpec
from vadfast.runtime.preprocess import Preprocess
from vadfast.runtime.source import VideoSource
from vadfast.teachers.pictures import Pictures

# Width, height and Mbit/s of the clips that are made.
CAMERAS = ((640, 360, 0.8), (1280, 720, 2.0), (1920, 1080, 4.0))
FPS = 25
N_MADE = 50  # two seconds
N_READ = 200  # of a user's film
N_PREPARED = 8  # frames kept: 50 MB of 1920x1080
_NOISE = 3.0  # grey levels, one standard deviation


@dataclass(frozen=True, slots=True)
class FilmCost:
    """CPU milliseconds a frame, of all threads together, and memory."""

    name: str
    width: int
    height: int
    fps: float
    decode_cpu_ms: float  # of each frame that is sent
    prepare_cpu_ms: float  # of each scored one
    camera_mb: float  # memory of each camera
    made: bool
    fps_assumed: bool = False  # the film has none: ``fps`` is what most cameras send


def check_film(path: Path) -> None:
    """Raises UsageError where nothing is at ``path``, and SourceError where it is no film that can be decoded: before engines are timed."""
    if not path.exists():
        raise UsageError(
            f"--video: must be a film of your camera, got nothing at {path}; check the path"
        )
    if next(iter(VideoSource(path)), None) is None:
        raise SourceError(
            f"{path}: must have a frame to measure decoding on, has none; name another film"
        )


@contextmanager
def made_films() -> Iterator[list[Path]]:
    """Writes a clip of each of ``CAMERAS`` into a folder that goes afterwards.

    Raises:
        UsageError: this PyAV cannot encode H.264.
    """
    with TemporaryDirectory(prefix="vadfast-doctor-") as folder:
        yield [
            _write(Path(folder, f"{width}x{height}.mp4"), width, height, mbit)
            for width, height, mbit in CAMERAS
        ]


def film_cost(path: Path, spec: InputSpec, *, made: bool = False) -> FilmCost:
    """Measures the film at ``path``: its first frames are decoded, the first few of them prepared for ``spec``.

    Raises:
        SourceError: it is no video, or cannot be decoded.
        UsageError: a teacher of the model lacks a file.
        BackendError: a teacher cannot run here.
    """
    source = VideoSource(path)
    images: list[npt.NDArray[np.uint8]] = []
    n = 0
    start = time.process_time()
    for frame in islice(source, N_READ):
        n += 1
        if len(images) < N_PREPARED:
            images.append(frame.image)
    decode_s = time.process_time() - start
    preprocess = Preprocess(spec)
    teach = Pictures(spec.teachers, path) if spec.teachers else None
    prepare_s = []
    for index, image in enumerate(images):
        start = time.process_time()
        small = preprocess(image)
        if teach is not None:
            teach(small, index)
        prepare_s.append(time.process_time() - start)
    height, width = images[0].shape[:2]
    return FilmCost(
        path.stem if made else path.name,
        width,
        height,
        source.fps or FPS,
        decode_s / n * 1e3,
        # The first one loads what the others find loaded.
        float(np.median(prepare_s)) * 1e3,
        camera_mb(path, spec),
        made,
        fps_assumed=not source.fps,
    )


def _write(path: Path, width: int, height: int, mbit: float) -> Path:
    import av
    import cv2

    from vadfast.data import synthetic

    if "libx264" not in av.codecs_available:
        raise UsageError(
            "doctor: must make H.264 clips to measure decoding, this PyAV has no encoder for it; name a film of your camera with "
            "--video FILE"
        )
    noise = np.random.default_rng(0).normal(0, _NOISE, (height, width, 3)).astype(np.int16)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.bit_rate = round(mbit * 1e6)
        # As cameras code: a whole picture every two seconds, none from what comes later.
        stream.options = {"preset": "veryfast", "bf": "0", "g": str(2 * FPS)}
        for t, made in enumerate(synthetic.film(0, N_MADE)):
            scene = cv2.resize(made.image, (width, height), interpolation=cv2.INTER_CUBIC)
            grainy = scene + np.roll(noise, (37 * t, 101 * t), axis=(0, 1))
            image = grainy.clip(0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path
