"""The golden bundle, written on the machine of origin.json: here it must open, prove itself, and give the same scores."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.golden.make import BUNDLE, ORIGIN, SCORES, write_frames
from vadfast.runtime.bundle import open_bundle
from vadfast.runtime.engine import open_engine
from vadfast.runtime.selftest import check_golden
from vadfast.runtime.signature import Trust

ANYBODYS = Trust(allow_unsigned=True)  # it was written before bundles were signed


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("backend", ["mnn", "openvino", "onnxruntime"])
def test_every_golden_window_gives_the_sealed_components(backend: str) -> None:
    bundle = open_bundle(BUNDLE, ANYBODYS)
    artefact = next(a for a in bundle.manifest.artefacts if a.backend == backend)
    engine = open_engine(bundle, backend=backend)
    errors = check_golden(bundle, engine, artefact)  # raises where one is outside its tolerance
    assert set(errors) == {"psnr"}
    engine.close()


@pytest.mark.parametrize("backend", ["mnn", "openvino", "onnxruntime"])
def test_a_film_gives_the_scores_of_the_machine_that_wrote_the_bundle(
    tmp_path: Path, backend: str
) -> None:
    film, out = write_frames(tmp_path / "golden-film"), tmp_path / "scores.jsonl"
    command = [
        sys.executable,
        "-m",
        "vadfast.score",
        BUNDLE,
        film,
        "--jsonl",
        out,
        "--allow-unsigned",
    ]
    done = subprocess.run(
        [*map(str, command), "--backend", backend], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    here, there = _lines(out), _lines(SCORES)
    manifest = open_bundle(BUNDLE, ANYBODYS).manifest
    artefact = next(a for a in manifest.artefacts if a.backend == backend)
    # The causal score is (median - psnr) / scale, then an average: its error is at most psnr's over the scale.
    score_tolerance = artefact.tolerance["psnr"] / manifest.calibration.components["psnr"].scale
    assert [_when(line) for line in here] == [_when(line) for line in there], ORIGIN.read_text()
    assert [line["event"] for line in there if "event" in line] == ["start", "end"]
    for ours, theirs in zip(here, there, strict=True):
        assert ours.keys() == theirs.keys(), ORIGIN.read_text()
        for key in {"score", "peak"} & theirs.keys():
            assert ours[key] == pytest.approx(theirs[key], abs=score_tolerance), ORIGIN.read_text()
        if "components" in theirs:
            assert ours["components"]["psnr"] == pytest.approx(
                theirs["components"]["psnr"], abs=artefact.tolerance["psnr"]
            ), ORIGIN.read_text()


def _when(line: dict[str, Any]) -> tuple[Any, ...]:
    return line["video"], line["frame"], line["time_s"], line.get("event")
