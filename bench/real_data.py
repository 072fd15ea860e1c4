"""The real data that some suites measure on; where it is absent they skip, and say what is missing."""

import os
import zipfile
from pathlib import Path

import pytest

PED2 = "ped2_256.zip"
CLIP = "clips/pedestrians_480x360.avi"


def real(name: str) -> Path | None:
    """``name`` inside the folder that ``VADFAST_DATA`` names (else ``shared/data`` beside the checkout), or None."""
    default = Path(__file__).parents[2] / "shared" / "data"
    path = Path(os.environ.get("VADFAST_DATA", default)) / name
    return path if path.exists() else None


def ped2(folder: Path) -> Path:
    """Unzips UCSD Ped2 into ``folder``; skips the test where it is not at hand."""
    archive = real(PED2)
    if archive is None:
        pytest.skip(f"no {PED2}: set VADFAST_DATA to a folder that holds it")
    with zipfile.ZipFile(archive) as stored:
        stored.extractall(folder)
    return folder / "ped2"
