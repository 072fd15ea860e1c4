"""Which part of the training video is never trained on: the end of every film, for calibration and the accuracy gate."""

from vadfast.data.datasets import Dataset, Video
from vadfast.runtime.source import length_of

_WINDOW = 5  # frames of the longest window: a shorter rest could not be scored


def n_trained(n_frames: int, fraction: float) -> int:
    """How many frames of a film are trained on; the rest, at least one window or nothing, is held out."""
    held = int(n_frames * fraction)
    return n_frames - held if held >= _WINDOW else n_frames


def held_out(dataset: Dataset, fraction: float) -> list[tuple[Video, int]]:
    """The held-out ends of the training films: (film, first frame that was not trained on)."""
    parts = []
    for video in dataset.train:
        n_frames = length_of(video.source)
        first = n_trained(n_frames, fraction)
        if first < n_frames:
            parts.append((video, first))
    return parts
