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
from fractions import Fraction
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
from vadfast.race import ratio, summarise
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
    _not_long(network, desk)
    bundle = open_bundle(make_bundle(network, workplace))
    engine = open_engine(bundle)
    source = open_source(film)
    windows = list(islice(_windows(bundle.manifest.input, film), 24))
    # Turns of a few seconds: long enough for the pipeline to fill, short enough to alternate.
    n = max(24, min(700, round(4 / _seconds_per_call(engine, windows))))

    def alone() -> float:
        start = time.perf_counter()
        for i in range(n):
            engine(windows[i % len(windows)])
        return (time.perf_counter() - start) / n

    def whole_way() -> float:
        with closing(score_source(engine, bundle.manifest, source)) as scores:
            next(scores)  # opening the film belongs to the case of the first score
            start = time.perf_counter()
            n_scored = sum(1 for _ in islice(scores, n))
            seconds = time.perf_counter() - start
        assert n_scored == n, f"{film} gave {n_scored} scores, wanted {n}"
        return seconds / n

    with closing(score_source(engine, bundle.manifest, source)) as scores:
        for window, scored in zip(windows, scores, strict=False):
            np.testing.assert_array_equal(scored.components, engine(window).components[0])
    turns = {"alone": alone, "whole": whole_way}
    ms: dict[str, list[float]] = {name: [] for name in turns}
    energy, n_rounds = energy_j(), 3 if desk.quick else 7
    for r in range(n_rounds):
        for name in sorted(turns, reverse=bool(r % 2)):
            ms[name].append(1e3 * turns[name]())
    spent = None if energy is None else (energy_j() or 0.0) - energy
    timings = {name: summarise(times) for name, times in ms.items()}
    middle, lo, hi = ratio(timings["alone"], timings["whole"])
    rate = {name: float(f"{1e3 / timing.median_ms:.4g}") for name, timing in timings.items()}
    common = {
        "shape": network.words(),
        "dtype": engine.precision,
        "unit": "frames/s",
        "rounds": n_rounds,
        "verified": f"the first {len(windows)} scores are the engine's, to the bit",
    }
    desk.record(
        "score",
        f"{network.name}, end to end on {film.name}",
        [
            common | {"provider": f"{engine.backend} alone", "value": rate["alone"]},
            common
            | {
                "provider": "vadfast.score",
                "value": rate["whole"],
                "ratio": round(middle, 3),
                "ratio_lo": round(lo, 3),
                "ratio_hi": round(hi, 3),
                "reference": f"{engine.backend} alone",
                "target": f">= {PATH_TARGET:g}x of the engine alone",
                "met": middle >= PATH_TARGET,
                "note": "energy: this machine cannot tell"
                if spent is None
                else f"energy: {spent / (2 * n * n_rounds):.3g} J a frame, of both",
            },
        ],
    )


@NETWORKS
def test_bundle_size(network: shapes.Network, workplace: Path, desk: Desk) -> None:
    """What is carried to a camera box: the whole bundle, and the model in it."""
    _not_long(network, desk)
    bundle = make_bundle(network, workplace)
    model = (bundle / "model.onnx").stat().st_size
    whole = sum(file.stat().st_size for file in bundle.rglob("*") if file.is_file())
    desk.record(
        "score",
        f"{network.name}, size of the bundle",
        [
            {
                "provider": "bundle",
                "shape": network.words(),
                "value": round(whole / 1e6, 3),
                "unit": "MB",
            },
            {
                "provider": "model.onnx",
                "shape": network.words(),
                "value": round(model / 1e6, 3),
                "unit": "MB",
            },
        ],
    )


@NETWORKS
def test_start(network: shapes.Network, workplace: Path, film: Path, desk: Desk) -> None:
    """From the start of the process to the first line of JSON, files in the page cache."""
    _not_long(network, desk)
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
                "shape": network.words(),
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
        "adl-32", "adl", 32, 4, "small, so that decoding and the pipeline are what is measured"
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
                "shape": tiny.words(),
                "value": round(spread, 1),
                "unit": "MB",
                "verified": f"{n_scored:,} scores",
                "target": f"<= {MEMORY_TARGET_MB:g} MB",
                "met": spread <= MEMORY_TARGET_MB,
                "note": f"greatest ({megabytes.max():.1f} MB) less least resident memory after the first 1,000 frames",
            }
        ],
    )


def _not_long(network: shapes.Network, desk: Desk) -> None:
    if desk.quick and network is not shapes.ADL_SMALL:
        pytest.skip("takes minutes to compile; run without --quick")


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
                    packet.stream, packet.pts, packet.dts = stream, n, n
                    packet.time_base = 1 / Fraction(video.average_rate)
                    out.mux(packet)
                    n += 1
    return n
