"""A made surveillance scene: a fixed camera over a path between grass and a wall, with people who walk, and things they do not do.

Everything follows from the seed: no download, no licence, exact frame labels and pixel masks. Normal films hold walkers only; a
test film holds one anomaly (cyclist, runner, cart, thrown object or loitering) for a part of its length.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vadfast.atomic import atomic_file, write_text

WIDTH_PX, HEIGHT_PX, FPS = 320, 240, 15
ANOMALIES = ("cyclist", "runner", "cart", "thrown", "loitering")
MIN_MASK_PX = 12  # an anomaly that shows fewer pixels is not yet, or no longer, in the picture
_HORIZON_PX = 70
_SUPERSAMPLE = 3  # bits of sub-pixel position in OpenCV's drawing


@dataclass(frozen=True)
class MadeFrame:
    """One frame: image uint8 [240, 320, 3] RGB, mask bool [240, 320] of the anomaly; ``label`` is 1 where it is seen."""

    image: np.ndarray
    mask: np.ndarray

    @property
    def label(self) -> int:
        return int(self.mask.sum() >= MIN_MASK_PX)


@dataclass
class _Actor:
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
        return 0.25 + 0.75 * (self.y - _HORIZON_PX) / (HEIGHT_PX - _HORIZON_PX)

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


def film(seed: int, n_frames: int, *, anomaly: str | None = None) -> Iterator[MadeFrame]:
    """Films ``n_frames`` of the scene; ``anomaly`` (one of ``ANOMALIES``) enters after about a third.

    The place (texture, wall, tree) is the same for all seeds: one camera. Seed decides people, light and noise.

    Raises:
        ValueError: ``anomaly`` is none of ``ANOMALIES``.
    """
    if anomaly is not None and anomaly not in ANOMALIES:
        raise ValueError(f"film: anomaly must be one of {', '.join(ANOMALIES)}, got {anomaly!r}")
    rng = np.random.default_rng(seed)
    place, front = _place(), _foreground()
    noise = rng.normal(0, 2.2, (8, HEIGHT_PX, WIDTH_PX, 1)).astype(np.float32)
    actors = [_walker(rng, inside=True) for _ in range(4)]
    drift_phase = rng.uniform(0, 6.28)
    enters = int(n_frames * rng.uniform(0.28, 0.4))
    for t in range(n_frames):
        if rng.random() < 0.035 and len(actors) < 8:
            actors.append(_walker(rng, inside=False))
        if anomaly is not None and t == enters:
            actors.append(_intruder(rng, anomaly))
        image, mask = place.copy(), np.zeros((HEIGHT_PX, WIDTH_PX), np.uint8)
        for actor in sorted(actors, key=lambda a: a.y):
            _draw(image, mask, actor)
            actor.move(t)
        # What stands before the walkers hides them, and the anomaly's pixels with them.
        np.copyto(image, front[0], where=front[1][..., None])
        mask[front[1]] = 0
        actors = [a for a in actors if not a.gone]
        light = 1.0 + 0.05 * np.sin(t / 160.0 + drift_phase)
        shift = rng.integers(0, WIDTH_PX)
        seen = image.astype(np.float32) * light + np.roll(noise[t % 8], shift, axis=1)
        yield MadeFrame(np.clip(seen, 0, 255).astype(np.uint8), mask > 0)


def write_dataset(
    root: Path,
    *,
    seed: int = 0,
    n_training: int = 6,
    n_testing: int = 5,
    n_frames: int = 240,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Writes training/*.mp4, testing/*.mp4, testing/labels.json and testing/masks/*.npz (layout ``folder``).

    Test film i holds the anomaly ``ANOMALIES[i % 5]``.
    """
    total = n_training + n_testing
    for i in range(n_training):
        write_film(root / "training" / f"normal-{i + 1:02}.mp4", film(seed * 1000 + i, n_frames))
        progress(i + 1, total)
    labels: dict[str, list[list[int]]] = {}
    for i in range(n_testing):
        kind = ANOMALIES[i % len(ANOMALIES)]
        name = f"{i + 1:02}-{kind}"
        path = root / "testing" / f"{name}.mp4"
        masks = write_film(path, film(seed * 1000 + 500 + i, n_frames, anomaly=kind))
        labels[name] = _spans(masks.sum(axis=(1, 2)) >= MIN_MASK_PX)
        with atomic_file(root / "testing" / "masks" / f"{name}.npz") as temporary:
            np.savez_compressed(temporary, masks=masks)
        progress(n_training + i + 1, total)
    write_text(root / "testing" / "labels.json", json.dumps(labels, indent=1) + "\n")


def write_film(path: Path, frames: Iterator[MadeFrame]) -> np.ndarray:
    """Encodes a made film; returns its masks, bool [n, H, W]."""
    masks: list[np.ndarray] = []

    def images() -> Iterator[np.ndarray]:
        for frame in frames:
            masks.append(frame.mask)
            yield frame.image

    write_frames(path, images(), FPS)
    return np.stack(masks)


def write_frames(path: Path, images: Iterable[np.ndarray], fps: float) -> None:
    """Encodes RGB images as H.264 that keeps the texture, whole or not at all."""
    import av

    with atomic_file(path) as temporary, av.open(str(temporary), "w") as container:
        stream = container.add_stream(
            "libx264",
            rate=Fraction(fps).limit_denominator(1001),
            options={"crf": "18", "preset": "veryfast"},
        )
        stream.pix_fmt = "yuv420p"
        for n, image in enumerate(images):
            # 4:2:0 needs even sides.
            image = image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2]
            if n == 0:
                stream.height, stream.width = image.shape[:2]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _spans(abnormal: np.ndarray) -> list[list[int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], abnormal.astype(np.int8), [0]])))
    return [[int(first), int(last) - 1] for first, last in edges.reshape(-1, 2)]


# ------------------------------------------------------------------------------------------------ the place


def _place() -> np.ndarray:
    """Wall, grass, path and their texture, uint8 RGB; drawn from a seed of its own, the same in every film."""
    rng = np.random.default_rng(20261121)
    image = np.empty((HEIGHT_PX, WIDTH_PX, 3), np.float32)
    image[:_HORIZON_PX] = (150, 128, 112)  # wall
    image[_HORIZON_PX:] = (96, 116, 72)  # grass
    for y in range(4, _HORIZON_PX, 8):  # courses of brick
        image[y : y + 1] -= 22
        image[y : y + 8, (y // 8 % 2) * 9 :: 18] -= 14
    for x in (40, 150, 250):  # windows
        cv2.rectangle(image, (x, 14), (x + 28, 48), (66, 78, 92), -1)
        cv2.rectangle(image, (x, 14), (x + 28, 48), (190, 186, 178), 2)
    path = np.array([[0, 108], [WIDTH_PX, 96], [WIDTH_PX, 226], [0, 240]], np.int32)
    cv2.fillPoly(image, [path], (146, 142, 134))
    for x in range(-200, WIDTH_PX + 200, 34):  # joints of the paving, towards the vanishing point
        cv2.line(image, (x, HEIGHT_PX), (160 + (x - 160) // 2, 100), (128, 124, 118), 1)
    blotches = cv2.GaussianBlur(
        rng.normal(0, 60, (HEIGHT_PX, WIDTH_PX)).astype(np.float32), (0, 0), 4
    )
    grain = rng.normal(0, 5, (HEIGHT_PX, WIDTH_PX)).astype(np.float32)
    image += (blotches + grain)[..., None]
    return np.clip(cv2.GaussianBlur(image, (0, 0), 0.6), 0, 255).astype(np.uint8)


def _foreground() -> tuple[np.ndarray, np.ndarray]:
    """A lamp post and a bush before the path: (image, where it is)."""
    image = np.zeros((HEIGHT_PX, WIDTH_PX, 3), np.uint8)
    cv2.rectangle(image, (92, 0), (97, 236), (52, 54, 58), -1)
    cv2.rectangle(image, (93, 0), (94, 236), (84, 86, 90), -1)
    rng = np.random.default_rng(7)
    for _ in range(420):
        x, y = rng.normal(292, 17), rng.normal(214, 13)
        shade = int(rng.integers(0, 34))
        cv2.circle(image, (int(x), int(y)), 4, (30 + shade, 62 + shade, 26 + shade), -1)
    return image, np.asarray(image.any(axis=2))


# ------------------------------------------------------------------------------------------------ actors

_CLOTHES = (
    (52, 62, 96),
    (112, 44, 44),
    (60, 84, 60),
    (176, 168, 150),
    (40, 40, 44),
    (140, 110, 60),
)


def _walker(rng: np.random.Generator, *, inside: bool) -> _Actor:
    right = rng.random() < 0.5
    x = rng.uniform(0, WIDTH_PX) if inside else (-30.0 if right else WIDTH_PX + 30.0)
    return _Actor(
        kind="walker",
        x=float(x),
        y=float(rng.uniform(122, 222)),
        speed=float(rng.uniform(1.3, 1.9) * (1 if right else -1)),
        clothes=_CLOTHES[rng.integers(len(_CLOTHES))],
        trousers=_CLOTHES[rng.integers(len(_CLOTHES))],
        height=float(rng.uniform(44, 54)),
        phase=float(rng.uniform(0, 6.28)),
    )


def _intruder(rng: np.random.Generator, kind: str) -> _Actor:
    actor = _walker(rng, inside=False)
    actor.kind, actor.y = kind, float(rng.uniform(150, 205))
    side = 1.0 if actor.speed > 0 else -1.0
    if kind == "loitering":
        actor.x, actor.speed = float(rng.uniform(150, 230)), 1.2
    elif kind == "thrown":
        actor.height_above, actor.rise, actor.speed = 30.0, 6.0, side * 8.0
    else:
        actor.speed = side * {"cyclist": 6.0, "runner": 4.6, "cart": 4.0}[kind]
    return actor


def _draw(image: np.ndarray, mask: np.ndarray, actor: _Actor) -> None:
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
    canvas: np.ndarray, actor: _Actor, h: float, ink: Callable[[tuple[int, int, int]], Any]
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
