"""The film again, as MP4: heat map on it, recent score below, a red frame during an event.

The source is decoded a second time, in step with the scores: the scoring pipeline then carries no
full-size frames, and the film begins with its first frame although the first score comes with the
last frame of the first window.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from vadfast.atomic import atomic_file
from vadfast.errors import SourceError
from vadfast.runtime.manifest import AlertRule
from vadfast.runtime.session import ScoredFrame

if TYPE_CHECKING:
    from vadfast.runtime.source import Frame, Source

Image = npt.NDArray[np.uint8]

DEFAULT_FPS = 25.0  # of folders of frames, which have none
HISTORY_S = 12.0  # length of the curve below the film

_MIN_WIDTH, _MAX_WIDTH = 640, 1280  # small films are enlarged so that the text can be read
_PANEL_PX = 96
_NUMBER_PX = 150  # right part of the panel: the score in figures
_HEAT_OPACITY = 0.65
_COOLEST = 80  # of 255 on the colour map
_HEAT_HALF_LIFE_S = 20.0  # of the running maximum that the heat map is scaled by

_FONT = cv2.FONT_HERSHEY_SIMPLEX

Colour = tuple[int, int, int]  # RGB
_RED, _WHITE, _GREY, _DARK, _CURVE = (
    (235, 60, 50),
    (245, 245, 245),
    (130, 130, 130),
    (24, 24, 28),
    (120, 200, 255),
)


@contextmanager
def overlay_video(target: Path, source: "Source", rule: AlertRule) -> Iterator["Overlay"]:
    """Opens ``target`` for the overlay of ``source``; it appears when the film is complete."""
    import av

    # The format is stated, so it does not depend on how the target is called.
    with atomic_file(target) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        overlay = Overlay(container, source, rule)
        yield overlay
        overlay.finish()


class Overlay:
    """Draws and encodes; at any time it holds one frame and some seconds of scores."""

    def __init__(self, container: Any, source: "Source", rule: AlertRule) -> None:
        """Use ``overlay_video``."""
        self._container = container
        self._name = source.name
        self._frames = iter(source)
        self._fps = Fraction(source.fps or DEFAULT_FPS).limit_denominator(60_000)
        self._stream: Any = None
        self._painter: Painter | None = None
        self._rule = rule

    def add(self, scored: ScoredFrame, *, in_event: bool) -> None:
        """Takes the next scored frame; the unscored ones before it are drawn without a score."""
        for frame in self._frames:
            if frame.index >= scored.frame:
                self._encode(frame, scored, in_event)
                return
            self._encode(frame, None, False)
        raise SourceError(
            f"{self._name}: frame {scored.frame} was scored, but is gone at the second reading; "
            "was the film changed?"
        )

    def finish(self) -> None:
        """Writes what the encoder still holds."""
        if self._stream is not None:
            self._container.mux(self._stream.encode(None))

    def _encode(self, frame: "Frame", scored: ScoredFrame | None, in_event: bool) -> None:
        import av

        if self._painter is None:
            self._painter = Painter(frame.image.shape[:2], self._rule, float(self._fps))
            self._stream = _open_stream(self._container, self._painter.size, self._fps)
        image = self._painter.paint(frame, scored, in_event=in_event)
        self._container.mux(self._stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))


class Painter:
    """Paints frames; keeps what the picture remembers (curve, scale of the heat map)."""

    def __init__(self, shape: tuple[int, ...], rule: AlertRule, fps: float) -> None:
        """``shape`` is [H, W] of the film."""
        height, width = shape
        scale = min(max(1.0, _MIN_WIDTH / width), _MAX_WIDTH / width)
        # Even sizes: the encoder halves the colour planes.
        self._film = (round(width * scale / 2) * 2, round(height * scale / 2) * 2)
        self.size = (self._film[0], self._film[1] + _PANEL_PX)
        self._rule = rule
        self._history: deque[tuple[float, bool]] = deque(maxlen=max(2, round(HISTORY_S * fps)))
        self._heat_max = 0.0
        self._heat_decay = 0.5 ** (1.0 / (_HEAT_HALF_LIFE_S * fps))
        # Grows with the scores.
        self._span = (min(0.0, rule.clear_threshold), rule.threshold * 1.25)

    def paint(self, frame: "Frame", scored: ScoredFrame | None, *, in_event: bool) -> Image:
        """Returns the picture uint8 [H, W, 3], RGB."""
        film = np.asarray(cv2.resize(frame.image, self._film, interpolation=cv2.INTER_LINEAR))
        if scored is not None:
            film = self._blend_heat(film, scored.heatmap)
            self._history.append((scored.score, in_event))
            low, high = self._span
            self._span = (min(low, scored.score), max(high, scored.score * 1.05))
        width, height = self._film
        canvas = np.full((height + _PANEL_PX, width, 3), _DARK, np.uint8)
        canvas[:height] = film
        _plate(canvas, f"frame {frame.index}   {frame.time_s:.2f} s", _DARK)
        self._paint_curve(canvas[height:])
        self._paint_number(canvas[height:], scored, in_event)
        if in_event:
            cv2.rectangle(canvas, (2, 2), (width - 3, height - 3), _RED, 5)
            _plate(canvas, "EVENT", _RED, right=True)
        return canvas

    def _blend_heat(self, film: Image, heatmap: npt.NDArray[np.float32]) -> Image:
        self._heat_max = max(float(heatmap.max()), self._heat_max * self._heat_decay)
        if self._heat_max <= 0.0:
            return film
        heat = np.clip(np.asarray(heatmap, np.float32) / self._heat_max, 0.0, 1.0)  # [h, w]
        heat = np.asarray(cv2.resize(heat, self._film, interpolation=cv2.INTER_LINEAR))  # [H, W]
        # Without the map's dark end, which would read as shadow on the film.
        level = (_COOLEST + heat * (255 - _COOLEST)).astype(np.uint8)
        colours = cv2.applyColorMap(level, cv2.COLORMAP_INFERNO)[..., ::-1]  # [H, W, 3], RGB
        # What is predicted well stays as filmed: opacity follows the heat.
        opacity = (_HEAT_OPACITY * np.sqrt(heat))[..., None]
        blended: Image = (film + (colours - film.astype(np.float32)) * opacity).astype(np.uint8)
        return blended

    def _paint_curve(self, panel: Image) -> None:
        left, right, top, bottom = 10, panel.shape[1] - _NUMBER_PX, 10, panel.shape[0] - 10
        low, high = self._span
        n = self._history.maxlen or 2

        def y_of(score: float) -> int:
            return int(bottom - (score - low) / max(high - low, 1e-9) * (bottom - top))

        for x in range(left, right, 12):
            y = y_of(self._rule.threshold)
            cv2.line(panel, (x, y), (min(x + 6, right), y), _RED, 1, cv2.LINE_AA)
        # The newest score is at the right edge.
        first = n - len(self._history)
        points = [
            (round(left + (first + i) / (n - 1) * (right - left)), y_of(score), event)
            for i, (score, event) in enumerate(self._history)
        ]
        for (x0, y0, _), (x1, y1, event) in pairwise(points):
            cv2.line(panel, (x0, y0), (x1, y1), _RED if event else _CURVE, 2, cv2.LINE_AA)

    def _paint_number(self, panel: Image, scored: ScoredFrame | None, in_event: bool) -> None:
        left = panel.shape[1] - _NUMBER_PX + 16
        if scored is None:
            _text(panel, "warming up", (left, 52), 0.55, _GREY)
            return
        colour = _RED if in_event else _WHITE
        _text(panel, f"{scored.score:.2f}", (left, 52), 1.0, colour, 2)
        _text(panel, f"alert > {self._rule.threshold:.2f}", (left, 78), 0.42, _GREY)


def _text(
    image: Image,
    text: str,
    origin: tuple[int, int],
    size: float,
    colour: Colour,
    thickness: int = 1,
) -> None:
    cv2.putText(image, text, origin, _FONT, size, colour, thickness, cv2.LINE_AA)


def _plate(image: Image, text: str, background: Colour, *, right: bool = False) -> None:
    """Writes ``text`` on a plate in a corner of the film: legible whatever is filmed."""
    (width, height), _ = cv2.getTextSize(text, _FONT, 0.55, 1)
    left = image.shape[1] - width - 24 if right else 8
    cv2.rectangle(image, (left, 8), (left + width + 16, height + 24), background, cv2.FILLED)
    _text(image, text, (left + 8, height + 15), 0.55, _WHITE)


def _open_stream(container: Any, size: tuple[int, int], fps: Fraction) -> Any:
    import av

    # H.264 plays everywhere; builds of PyAV without it have MPEG-4.
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    stream = container.add_stream(codec, rate=fps)
    stream.width, stream.height = size
    stream.pix_fmt = "yuv420p"
    if codec == "libx264":
        stream.options = {"preset": "veryfast", "crf": "21"}
    else:
        stream.bit_rate = 4_000_000
    return stream
