"""Who moves in the made scene: walkers, and the five things that walkers do not do; how they move and how they are drawn."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

WIDTH_PX, HEIGHT_PX, HORIZON_PX = 320, 240, 70
_SUPERSAMPLE = 3  # bits of sub-pixel position in OpenCV's drawing


@dataclass
class Actor:
    """Something that moves: position of its feet in px, speed in px per frame at full size, and how it is drawn."""

    kind: str
    x: float
    y: float
    speed: float
    clothes: tuple[int, int, int]
    trousers: tuple[int, int, int]
    height: float  # px if it stood at the lower edge
    phase: float
    height_above: float = 0.0
    rise: float = 0.0

    @property
    def scale(self) -> float:
        """Perspective: 1 at the lower edge, small at the horizon."""
        return 0.25 + 0.75 * (self.y - HORIZON_PX) / (HEIGHT_PX - HORIZON_PX)

    def move(self, t: int) -> None:
        if self.kind == "loitering":
            # Paces to and fro on a few steps of ground, and stands in between.
            self.x += self.speed * self.scale * np.sin(t / 14.0)
            self.phase += 0.25 * abs(np.sin(t / 14.0))
            return
        self.x += self.speed * self.scale
        # Two steps carry a walker 0.6 of his height; wheels and pedals turn slower than legs.
        turn = 2 * np.pi / (0.6 * self.height)
        self.phase += abs(self.speed) * turn * (0.4 if self.kind == "cyclist" else 1.0)
        if self.kind == "thrown":
            self.height_above = max(0.0, self.height_above + self.rise)
            self.rise -= 0.55

    @property
    def gone(self) -> bool:
        return not -60 < self.x < WIDTH_PX + 60


_CLOTHES = (
    (52, 62, 96),
    (112, 44, 44),
    (60, 84, 60),
    (176, 168, 150),
    (40, 40, 44),
    (140, 110, 60),
)


def walker(rng: np.random.Generator, *, inside: bool) -> Actor:
    """Someone who walks along the path: from either edge, or already ``inside`` the picture."""
    right = rng.random() < 0.5
    x = rng.uniform(0, WIDTH_PX) if inside else (-30.0 if right else WIDTH_PX + 30.0)
    return Actor(
        kind="walker",
        x=float(x),
        y=float(rng.uniform(122, 222)),
        speed=float(rng.uniform(1.3, 1.9) * (1 if right else -1)),
        clothes=_CLOTHES[rng.integers(len(_CLOTHES))],
        trousers=_CLOTHES[rng.integers(len(_CLOTHES))],
        height=float(rng.uniform(44, 54)),
        phase=float(rng.uniform(0, 6.28)),
    )


def intruder(rng: np.random.Generator, kind: str) -> Actor:
    """The anomaly ``kind``, about to come into the picture (loitering: already in it)."""
    actor = walker(rng, inside=False)
    actor.kind, actor.y = kind, float(rng.uniform(150, 205))
    side = 1.0 if actor.speed > 0 else -1.0
    if kind == "loitering":
        actor.x, actor.speed = float(rng.uniform(150, 230)), 1.2
    elif kind == "thrown":
        actor.height_above, actor.rise, actor.speed = 30.0, 6.0, side * 8.0
    else:
        actor.speed = side * {"cyclist": 6.0, "runner": 4.6, "cart": 4.0}[kind]
    return actor


def draw(image: np.ndarray, mask: np.ndarray, actor: Actor) -> None:
    """Draws ``actor`` into ``image`` [H, W, 3] and what of it is abnormal into ``mask`` [H, W], 0 or 255."""
    abnormal = actor.kind != "walker"
    h = actor.height * actor.scale
    if actor.kind != "thrown":
        shadow = image.copy()
        cv2.ellipse(
            shadow,
            *_ellipse(actor.x + 0.16 * h, actor.y, 0.24 * h, 0.06 * h),
            (40, 42, 40),
            -1,
            cv2.LINE_AA,
            _SUPERSAMPLE,
        )
        cv2.addWeighted(shadow, 0.45, image, 0.55, 0, dst=image)
    # Drawn twice, in colour and as a mask; a walker in front takes the anomaly's pixels away.
    _paint(image, actor, h, lambda colour: colour)
    _paint(mask, actor, h, lambda colour: 255 if abnormal else 0)


def _paint(
    canvas: np.ndarray, actor: Actor, h: float, ink: Callable[[tuple[int, int, int]], Any]
) -> None:
    x, y = actor.x, actor.y
    line = cv2.LINE_AA if canvas.ndim == 3 else cv2.LINE_8
    if actor.kind == "thrown":
        top = y - actor.height_above * actor.scale
        cv2.ellipse(
            canvas,
            *_ellipse(x, top - 4, 4.5 * actor.scale + 1, 4.5 * actor.scale + 1),
            ink((150, 30, 28)),
            -1,
            line,
            _SUPERSAMPLE,
        )
        return
    if actor.kind == "cyclist":
        for side in (-0.3, 0.3):
            cv2.ellipse(
                canvas,
                *_ellipse(x + side * h, y - 0.17 * h, 0.17 * h, 0.17 * h),
                ink((24, 24, 26)),
                max(1, round(0.03 * h)),
                line,
                _SUPERSAMPLE,
            )
        _limb(
            canvas,
            x - 0.3 * h,
            y - 0.17 * h,
            x + 0.3 * h,
            y - 0.3 * h,
            0.035 * h,
            ink((150, 40, 40)),
            line,
        )
        y -= 0.2 * h
    if actor.kind == "cart":
        ahead = 0.5 * h if actor.speed > 0 else -0.5 * h
        corner = _point(x + ahead - 0.3 * h, y - 0.55 * h)
        opposite = _point(x + ahead + 0.3 * h, y - 0.08 * h)
        cv2.rectangle(
            canvas,
            corner,
            opposite,
            ink((196, 160, 60)),
            -1,
            line,
            _SUPERSAMPLE,
        )
    stride = 0.34 if actor.kind == "runner" else 0.2
    swing = stride * h * np.sin(actor.phase)
    for sign, colour in ((1, actor.trousers), (-1, _darker(actor.trousers))):
        knee = x + sign * swing * 0.55
        _limb(canvas, x, y - 0.48 * h, knee, y - 0.24 * h, 0.1 * h, ink(colour), line)
        _limb(canvas, knee, y - 0.24 * h, x + sign * swing, y, 0.085 * h, ink(colour), line)
    _limb(
        canvas, x, y - 0.78 * h, x - swing * 0.8, y - 0.46 * h, 0.07 * h, ink(actor.clothes), line
    )
    cv2.ellipse(
        canvas,
        *_ellipse(x, y - 0.64 * h, 0.115 * h, 0.2 * h),
        ink(actor.clothes),
        -1,
        line,
        _SUPERSAMPLE,
    )
    cv2.ellipse(
        canvas,
        *_ellipse(x, y - 0.92 * h, 0.065 * h, 0.08 * h),
        ink((196, 152, 128)),
        -1,
        line,
        _SUPERSAMPLE,
    )


def _limb(
    canvas: np.ndarray,
    x0: float,
    y0: float,
    x1: float,
    y1: float,
    thick: float,
    ink: Any,
    line: int,
) -> None:
    cv2.line(canvas, _point(x0, y0), _point(x1, y1), ink, max(1, round(thick)), line, _SUPERSAMPLE)


def _ellipse(
    x: float, y: float, rx: float, ry: float
) -> tuple[tuple[int, int], tuple[int, int], int, int, int]:
    return _point(x, y), _point(max(rx, 0.5), max(ry, 0.5)), 0, 0, 360


def _point(x: float, y: float) -> tuple[int, int]:
    unit = 1 << _SUPERSAMPLE
    return round(x * unit), round(y * unit)


def _darker(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    """The far leg, in shade."""
    r, g, b = colour
    return int(r * 0.8), int(g * 0.8), int(b * 0.8)
