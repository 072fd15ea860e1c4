"""``python -m tests.golden.make``: writes the golden bundle anew, by the commands a user types.

It is committed, so that every other machine proves on it that its engines give the scores of the machine that wrote it. Make
it anew only when the bundle's format changes, and say so in the commit: a golden file that follows every change proves nothing.
"""

import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np

from vadfast.data import synthetic
from vadfast.runtime.engine import cpu_features

HERE = Path(__file__).parent
BUNDLE, FILM = HERE / "adl-tiny.vad.zip", HERE / "film.npz"
SCORES, ORIGIN = HERE / "scores.jsonl", HERE / "origin.json"
FILM_SEED, N_FRAMES, SHRINK = 41, 48, 5
# Frames in which something strikes the camera, so that the film holds one event.
KNOCKED = range(16, 26)
MODEL = "--image-size 32 --width 4 --batch 8 --adversarial 0 --learning-rate 2e-3 --steps 600"


def write_frames(folder: Path) -> Path:
    """Writes the golden film as PNG, which every machine decodes to the same pixels; returns its folder."""
    folder.mkdir(parents=True)
    for t, frame in enumerate(np.load(FILM)["frames"]):
        cv2.imwrite(str(folder / f"{t:03}.png"), frame[..., ::-1])
    return folder


def main() -> None:
    """Films, trains, compiles and scores; the run's own folder is not kept."""
    np.savez_compressed(FILM, frames=np.stack(list(_golden_film())))
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        for i in range(2):
            synthetic.write_film(root / "scene" / f"{i}.mp4", synthetic.film(70 + i, 200))
        _run(f"vadfast.train --data {root}/scene --out {root}/run {MODEL} --holdout 0.3")
        _run(f"vadfast.compile {root}/run --out {BUNDLE} --rounds 5")
        film = write_frames(root / "golden-film")
        _run(f"vadfast.score {BUNDLE} {film} --jsonl {SCORES}")
    origin = {
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "cpu_flags": sorted({"avx2", "avx512f", "bf16", "amx_tile"} & cpu_features()),
        "versions": {p: version(p) for p in ("torch", "openvino", "onnxruntime", "numpy")},
    }
    ORIGIN.write_text(json.dumps(origin, indent=1) + "\n")


def _golden_film() -> Iterator[np.ndarray]:
    for t, made in enumerate(synthetic.film(FILM_SEED, N_FRAMES)):
        small = made.image[::SHRINK, ::SHRINK]
        yield np.roll(small, 4 * (-1) ** t, axis=1) if t in KNOCKED else small


def _run(command: str) -> None:
    subprocess.run([sys.executable, "-m", *command.split()], check=True)


if __name__ == "__main__":
    main()
