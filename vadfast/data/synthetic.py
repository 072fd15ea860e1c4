"""A made surveillance scene: a fixed camera over a path between grass and a wall, with people who walk, and things they do not do.

Everything follows from the seed: no download, no licence, exact frame labels and pixel masks. Normal films hold walkers only; a
test film holds one anomaly (cyclist, runner, cart, thrown object or loitering) for a part of its length.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from vadfast.atomic import atomic_file, write_text
from vadfast.data.actors import HEIGHT_PX, HORIZON_PX, WIDTH_PX, draw, intruder, walker
from vadfast.data.labels import Spans, spans_of

FPS = 15
ANOMALIES = ("cyclist", "runner", "cart", "thrown", "loitering")
MIN_MASK_PX = 12  # an anomaly that shows fewer pixels is not yet, or no longer, in the picture


@dataclass(frozen=True)
class MadeFrame:
    """One frame: image uint8 [240, 320, 3] RGB, mask bool [240, 320] of the anomaly; ``label`` is 1 where it is seen."""

    image: np.ndarray
    mask: np.ndarray

    @property
    def label(self) -> int:
        return int(self.mask.sum() >= MIN_MASK_PX)


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
    actors = [walker(rng, inside=True) for _ in range(4)]
    drift_phase = rng.uniform(0, 6.28)
    enters = int(n_frames * rng.uniform(0.28, 0.4))
    for t in range(n_frames):
        if rng.random() < 0.035 and len(actors) < 8:
            actors.append(walker(rng, inside=False))
        if anomaly is not None and t == enters:
            actors.append(intruder(rng, anomaly))
        image, mask = place.copy(), np.zeros((HEIGHT_PX, WIDTH_PX), np.uint8)
        for actor in sorted(actors, key=lambda a: a.y):
            draw(image, mask, actor)
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
    labels: dict[str, Spans] = {}
    for i in range(n_testing):
        kind = ANOMALIES[i % len(ANOMALIES)]
        name = f"{i + 1:02}-{kind}"
        path = root / "testing" / f"{name}.mp4"
        masks = write_film(path, film(seed * 1000 + 500 + i, n_frames, anomaly=kind))
        labels[name] = spans_of(masks.sum(axis=(1, 2)) >= MIN_MASK_PX)
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


# ------------------------------------------------------------------------------------------------ the place


def _place() -> np.ndarray:
    """Wall, grass, path and their texture, uint8 RGB; drawn from a seed of its own, the same in every film."""
    rng = np.random.default_rng(20261121)
    image = np.empty((HEIGHT_PX, WIDTH_PX, 3), np.float32)
    image[:HORIZON_PX] = (150, 128, 112)  # wall
    image[HORIZON_PX:] = (96, 116, 72)  # grass
    for y in range(4, HORIZON_PX, 8):  # courses of brick
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
