"""Scoring films: the whole way of a frame against the engine alone, the time to the first score, and memory over a long film.

The film is a real one (``clips/pedestrians_480x360.avi`` of the real data) where it is at hand, else the made scene.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from bench import shapes
from bench.bundles import make_bundle
from bench.conftest import Desk
from bench.machine import energy_j
from bench.real_data import CLIP, real
from vadfast.data import synthetic
from vadfast.runtime.bundle import open_bundle
from vadfast.runtime.engine import open_engine
from vadfast.runtime.preprocess import Preprocess
from vadfast.runtime.session import score_source
from vadfast.runtime.source import open_source
from vadfast.runtime.window import Window

N_STARTS = 7
LONG_FILM_FRAMES = 100_000
PATH_TARGET, START_TARGET_S, MEMORY_TARGET_MB = 0.9, 2.0, 20.0

NETWORKS = pytest.mark.parametrize("network", shapes.NETWORKS, ids=lambda n: n.name)


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where bundles are kept while the suite runs."""
    return tmp_path_factory.mktemp("score")


@pytest.fixture(scope="session")
def film(workplace: Path) -> Path:
    """The film that is scored."""
    clip = real(CLIP)
    if clip is not None:
        return clip
    made = workplace / "made.mp4"
    synthetic.write_film(made, synthetic.film(3, 795))
    return made


@NETWORKS
def test_end_to_end(network: shapes.Network, workplace: Path, film: Path, desk: Desk) -> None:
    """Decode, preprocess, infer and score, overlapped, against the same engine on windows that lie ready."""
    bundle = open_bundle(make_bundle(network, workplace))
    engine = open_engine(bundle)
    source = open_source(film)
    # Turns of a few seconds: long enough for the pipeline to fill, short enough to alternate.
    windows = list(islice(_windows(bundle.manifest.input, film), 24))
    seconds = _seconds_per_call(engine, windows)
    n = max(24, min(700, round(4 / seconds)))
    rounds = 3 if desk.quick else 7
    way: list[float] = []
    alone: list[float] = []
    for _ in range(rounds):
        start = time.perf_counter()
        for i in range(n):
            engine(windows[i % len(windows)])
        alone.append(n / (time.perf_counter() - start))
        with closing(score_source(engine, bundle.manifest, source)) as scores:
            next(scores)  # opening the film is the other case's, the time to the first score
            start, energy = time.perf_counter(), energy_j()
            n_scored = sum(1 for _ in islice(scores, n))
            way.append(n_scored / (time.perf_counter() - start))
            spent = None if energy is None else (energy_j() or 0.0) - energy
        assert n_scored == n, f"{film} gave {n_scored} scores, wanted {n}"
    ratios = [a / b for a, b in zip(way, alone, strict=True)]
    ratio = statistics.median(ratios)
    common = {"shape": network.words, "dtype": engine.precision, "unit": "frames/s"}
    desk.record(
        "score",
        f"{network.name}, end to end on {film.name}",
        [
            common | {"provider": f"{engine.backend} alone", "value": _figures(alone)},
            common
            | {
                "provider": "vadfast.score",
                "value": _figures(way),
                "ratio": round(ratio, 3),
                "ratio_lo": round(min(ratios), 3),
                "ratio_hi": round(max(ratios), 3),
                "reference": f"{engine.backend} alone",
                "target": f">= {PATH_TARGET:g}x of the engine alone",
                "met": ratio >= PATH_TARGET,
                "note": f"interval: least and greatest of {rounds} paired rounds; energy: "
                + ("this machine cannot tell" if spent is None else f"{spent / n:.3g} J a frame"),
            },
        ],
    )


@NETWORKS
def test_bundle_size(network: shapes.Network, workplace: Path, desk: Desk) -> None:
    """What is carried to a camera box: the whole bundle, and the model in it."""
    bundle = make_bundle(network, workplace)
    model = (bundle / "model.onnx").stat().st_size
    whole = sum(file.stat().st_size for file in bundle.rglob("*") if file.is_file())
    desk.record(
        "score",
        f"{network.name}, size of the bundle",
        [
            {
                "provider": "bundle",
                "shape": network.words,
                "value": round(whole / 1e6, 3),
                "unit": "MB",
            },
            {
                "provider": "model.onnx",
                "shape": network.words,
                "value": round(model / 1e6, 3),
                "unit": "MB",
            },
        ],
    )


@NETWORKS
def test_start(network: shapes.Network, workplace: Path, film: Path, desk: Desk) -> None:
    """From the start of the process to the first line of JSON, files in the page cache."""
    bundle = make_bundle(network, workplace)
    command = [sys.executable, "-m", "vadfast.score", str(bundle), str(film)]
    times = []
    for _ in range(3 if desk.quick else N_STARTS):
        start = time.perf_counter()
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            assert process.stdout is not None
            first = process.stdout.readline()
            times.append(time.perf_counter() - start)
            process.kill()
        assert json.loads(first)["frame"] == 4, "the first score belongs to the fifth frame"
    median = statistics.median(times)
    desk.record(
        "score",
        f"{network.name}, start to first score",
        [
            {
                "provider": "vadfast.score",
                "shape": network.words,
                "value": round(median, 2),
                "unit": "s",
                "verified": "first line is frame 4",
                "target": f"< {START_TARGET_S:g} s",
                "met": median < START_TARGET_S,
                "note": f"{min(times):.2f} to {max(times):.2f} s over {len(times)} starts",
            }
        ],
    )


def test_memory(workplace: Path, film: Path, desk: Desk) -> None:
    """Resident memory of ``vadfast.score`` over a film of 100,000 real frames, decoded as any other."""
    if desk.quick:
        pytest.skip("takes minutes; run without --quick")
    tiny = shapes.Network(
        "adl-32", 32, 4, "small, so that decoding and the pipeline are what is measured"
    )
    bundle = make_bundle(tiny, workplace)
    long_film = workplace / "long.mkv"
    n_frames = _repeat(film, long_film, LONG_FILM_FRAMES)
    command = [sys.executable, "-m", "vadfast.score", str(bundle), str(long_film)]
    samples: list[tuple[int, float]] = []
    n_scored = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        memory = psutil.Process(process.pid)
        for line in process.stdout:
            n_scored += b'"frame"' in line and b'"event"' not in line
            if n_scored % 1000 == 0:
                samples.append((n_scored, memory.memory_info().rss / 2**20))
    assert process.returncode == 0
    assert n_scored == n_frames - 4, f"{n_scored} scores of {n_frames} frames"
    megabytes = np.array([mb for n, mb in samples if n >= 1000])
    spread = float(megabytes.max() - megabytes.min())
    desk.record(
        "score",
        f"memory over {n_frames:,} frames of {film.name}, repeated",
        [
            {
                "provider": "vadfast.score",
                "shape": tiny.words,
                "value": round(spread, 1),
                "unit": "MB",
                "peak_mb": round(float(megabytes.max()), 1),
                "verified": f"{n_scored:,} scores",
                "target": f"<= {MEMORY_TARGET_MB:g} MB",
                "met": spread <= MEMORY_TARGET_MB,
                "note": "greatest less least resident memory after the first 1,000 frames",
            }
        ],
    )


def _windows(spec: Any, film: Path) -> Iterator[np.ndarray]:
    preprocess, window = Preprocess(spec), Window(spec)
    for frame in open_source(film):
        preprocess(frame.image, window.slot())
        view = window.commit()
        if view is not None:
            yield view[None].copy()


def _seconds_per_call(engine: Any, windows: list[np.ndarray]) -> float:
    engine(windows[0])
    start = time.perf_counter()
    for window in windows[:3]:
        engine(window)
    return (time.perf_counter() - start) / 3


def _repeat(film: Path, target: Path, n_frames: int) -> int:
    """Writes the packets of ``film`` again and again, not decoded; returns how many frames the result has."""
    import av

    n = 0
    with av.open(str(target), "w") as out:
        stream = None
        while n < n_frames:
            with av.open(str(film)) as source:
                video = source.streams.video[0]
                stream = stream or out.add_stream_from_template(video)
                for packet in source.demux(video):
                    if packet.dts is None:
                        continue
                    packet.stream, packet.pts, packet.dts = stream, None, None
                    out.mux(packet)
                    n += 1
    return n


def _figures(rates: list[float]) -> float:
    return float(f"{statistics.median(rates):.4g}")
