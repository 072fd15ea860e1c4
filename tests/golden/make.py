"""``python -m tests.golden.make``: writes the golden bundle anew, by the commands a user types.

It is committed, so that every other machine proves on it that its engines give the scores of the machine that wrote it. Make
it anew only when the bundle's format changes, and say so in the commit: a golden file that follows every change proves nothing.
"""

import json
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from vadfast.data import synthetic

HERE = Path(__file__).parent
BUNDLE, SCORES, ORIGIN = HERE / "adl-tiny.vad", HERE / "scores.jsonl", HERE / "origin.json"
FILM_SEED, N_FRAMES = 41, 60


def write_frames(folder: Path) -> Path:
    """Writes the film that is scored as PNG, which every machine decodes to the same pixels; returns its folder."""
    import cv2

    folder.mkdir(parents=True)
    for t, made in enumerate(synthetic.film(FILM_SEED, N_FRAMES, anomaly="cyclist")):
        cv2.imwrite(str(folder / f"{t:03}.png"), made.image[::4, ::4, ::-1])
    return folder


def main() -> None:
    """Trains, compiles and scores; the run's own folder is not kept."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        for i in range(2):
            synthetic.write_film(root / "scene" / f"{i}.mp4", synthetic.film(70 + i, 200))
        size = (
            "--image-size 32 --width 4 --batch 8 --adversarial 0 --learning-rate 1e-3 --steps 600"
        )
        _run(f"vadfast.train --data {root}/scene --out {root}/run {size} --holdout 0.3")
        _run(f"vadfast.compile {root}/run --out {BUNDLE} --rounds 5")
        film = write_frames(root / "golden-film")
        SCORES.unlink(missing_ok=True)
        _run(f"vadfast.score {BUNDLE} {film} --jsonl {SCORES}")
    origin = {
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "cpu_flags": _flags(),
        "versions": {p: version(p) for p in ("torch", "openvino", "onnxruntime", "numpy")},
    }
    ORIGIN.write_text(json.dumps(origin, indent=1) + "\n")


def _flags() -> list[str]:
    from vadfast.runtime.engine import cpu_features

    return [f for f in ("avx2", "avx512f", "bf16", "amx_tile") if f in cpu_features()]


def _run(command: str) -> None:
    subprocess.run([sys.executable, "-m", *command.split()], check=True)


if __name__ == "__main__":
    main()
