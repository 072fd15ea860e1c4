"""Bundles for measuring the runtime: made by the commands a user types, on the made scene, with as little training as they allow.

What a frame costs does not depend on what the model has learnt.
"""

import subprocess
import sys
from pathlib import Path

from bench.shapes import Network
from vadfast.data import synthetic
from vadfast.errors import VadfastError

_N_FRAMES = 200


def make_bundle(network: Network, folder: Path) -> Path:
    """Trains one step of ``network`` and compiles it; returns the bundle."""
    scene, run, bundle = (
        folder / "scene",
        folder / f"run-{network.name}",
        folder / f"{network.name}.vad",
    )
    if bundle.exists():
        return bundle
    if not scene.exists():
        synthetic.write_film(scene / "normal.mp4", synthetic.film(1, _N_FRAMES))
    size = ("--image-size", network.image_size, "--width", network.width, "--adversarial", 0)
    vadfast(
        "train", "--data", scene, "--out", run, *size, "--steps", 1, "--batch", 1, "--holdout", 0.3
    )
    # Few rounds and windows: the race is measured elsewhere, here only its result is needed.
    vadfast("compile", run, "--out", bundle, "--rounds", 3, "--gate-windows", 24)
    return bundle


def vadfast(command: str, *arguments: object) -> None:
    """Runs ``python -m vadfast.COMMAND`` to its end; VadfastError with the end of its talk where it fails."""
    words = [sys.executable, "-m", f"vadfast.{command}", *map(str, arguments)]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    if done.returncode:
        raise VadfastError(f"{' '.join(words[2:])} failed: {done.stderr[-500:].strip()}")
