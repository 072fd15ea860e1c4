"""Scaling: how the time of a frame grows with resolution and batch, and how many cameras fit, predicted and then tried."""

import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from bench import shapes
from bench.bundles import make_bundle
from bench.child import resident_mb
from bench.conftest import Desk
from bench.networks import cost_of, scorer_of, spec_of, truth_of, windows_of
from vadfast.compile.backends import Backend, Workshop
from vadfast.compile.backends.mnn import MNNBackend
from vadfast.compile.backends.openvino import OpenVINOBackend
from vadfast.compile.export import export_onnx
from vadfast.compile.gate import BOUNDS
from vadfast.data import synthetic
from vadfast.progress import steps
from vadfast.race import alternate
from vadfast.runtime.bundle import open_bundle
from vadfast.runtime.engine import Engine, Outputs, open_engine
from vadfast.runtime.session import score_source
from vadfast.runtime.source import open_source

SIZES, BATCHES = (64, 96, 128, 192, 256), (1, 2, 4, 8)
CAMERAS, RATE = (1, 2, 4, 8), 10.0  # frames/s a camera is scored at
FITS = 0.95  # of the predicted rate: what two runs of the same film differ by
N_FRAMES = 150


def engine_call(
    backend: Backend, network: shapes.Network, batch: int, folder: Path
) -> Callable[[int], Outputs]:
    """An engine and its window; in a process of its own, where its memory is measured, the model is there already."""
    engine = _engine(backend, network, batch, folder)
    return partial(_call, engine, _window(network, batch))


def _engine(backend: Backend, network: shapes.Network, batch: int, folder: Path) -> Engine:
    spec = spec_of(network)
    return backend.build(Workshop(nn.Identity(), spec, folder, folder), "fp32", batch)


def _window(network: shapes.Network, batch: int) -> np.ndarray:
    return windows_of(network)[0].repeat(batch, axis=0)


def _call(engine: Engine, window: np.ndarray, _: int) -> Outputs:
    return engine(window)


@pytest.mark.parametrize("axis", ["side [px]", "batch"])
def test_growth(axis: str, desk: Desk, tmp_path: Path) -> None:
    """Time and memory, float32 at width 16, on both engines that ship first somewhere: resolution at batch 1, batch at 128 px."""
    sizes, batches = (SIZES[::2], BATCHES[::3]) if desk.quick else (SIZES, BATCHES)
    places = [(s, 1) for s in sizes] if axis == "side [px]" else [(128, b) for b in batches]
    cases = [(backend, *place) for backend in (MNNBackend(), OpenVINOBackend()) for place in places]
    rounds = 3 if desk.quick else 15
    calls: list[Callable[[int], object]] = []
    rows: list[dict[str, Any]] = []
    bound = BOUNDS["fp32"].score_error["dB"]
    with ExitStack() as stack:
        for backend, side, batch in cases:
            network = replace(shapes.ADL_SMALL, name=f"adl-{side}", image_size=side)
            folder = tmp_path / f"{backend.name}-{side}-{batch}"
            folder.mkdir()
            export_onnx(scorer_of(network), spec_of(network), folder / "model.onnx")
            resident = resident_mb(engine_call, backend, network, batch, folder)
            engine = _engine(backend, network, batch, folder)
            stack.callback(engine.close)
            call = partial(_call, engine, _window(network, batch))
            error = float(np.abs(call(0).components - truth_of(network).components[:1]).max())
            assert error <= bound, (
                f"{backend.name}, {side} px, batch {batch}: off by {error} dB, allowed {bound}"
            )
            calls.append(call)
            rows.append(
                {
                    "provider": backend.name,
                    "axis": axis,
                    "at": side if axis == "side [px]" else batch,
                    "dtype": "fp32",
                    "shape": network.words(batch),
                    "gflop": float(f"{batch * cost_of(network).gflop:.4g}"),
                    "verified": f"error {error:.2g} dB of {bound:g} dB allowed",
                    "note": f"the process holds {resident:.0f} MB more with the engine",
                }
            )
        with steps(f"scaling with {axis}", len(calls) * (rounds + 1)) as bar:
            timings = alternate(calls, rounds=rounds, steps=bar)
    for row, (_, _, batch), timing in zip(rows, cases, timings, strict=True):
        q20, q80 = np.quantile(timing.round_ms, [0.2, 0.8])
        ms = timing.median_ms
        row |= {"median_ms": round(ms, 3), "q20_ms": round(q20, 3), "q80_ms": round(q80, 3)}
        rate = row["gflop"] / ms * 1e3
        row["note"] = f"{ms / batch:.3g} ms a frame, {rate:.0f} GFLOP/s; {row['note']}"
    desk.record("scaling", f"adl, width 16, by {axis.partition(' ')[0]}", rows)


def test_cameras(desk: Desk) -> None:
    """One engine, N films decoded beside each other: from one film's rate, how many cameras fit; then so many are tried."""
    if desk.quick:
        pytest.skip("makes a bundle and scores it for minutes; run without --quick")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        bundle = open_bundle(make_bundle(shapes.ADL_SMALL, folder))
        film = folder / "film.mp4"
        synthetic.write_film(film, synthetic.film(3, N_FRAMES))
        engine = open_engine(bundle)
        rounds = 3
        measure = partial(_frames_per_s, engine, bundle.manifest, film)
        alone = statistics.median(measure(1) for _ in range(rounds))
        predicted = max(1, int(alone / RATE))
        rates: dict[int, list[float]] = {n: [] for n in sorted({*CAMERAS, predicted})}
        for _ in range(rounds):
            for n, seen in rates.items():
                seen.append(measure(n))
        engine.close()
    rows: list[dict[str, Any]] = [
        {
            "provider": "vadfast.score",
            "axis": "films at once",
            "at": n,
            "value": round(statistics.median(seen), 1),
            "unit": "frames/s in all",
            "verified": f"every film gave its {N_FRAMES - 4} scores",
            "note": f"{statistics.median(seen) / alone:.2f} of one film's rate; {min(seen):.0f} to {max(seen):.0f} "
            f"over {rounds} rounds",
        }
        for n, seen in rates.items()
    ]
    reached = statistics.median(rates[predicted])
    rows.append(
        {
            "provider": f"cameras of {RATE:g} frames/s that fit",
            "value": predicted,
            "unit": "cameras",
            "kind": "predicted",
            "target": f">= {FITS:g} of the {predicted * RATE:g} frames/s that so many need, tried",
            "met": reached >= FITS * predicted * RATE,
            "note": f"one film's rate, {alone:.0f} frames/s, divided by a camera's; so many films at once reached {reached:.0f}",
        }
    )
    desk.record("scaling", "adl-128, films on one engine", rows)


def _frames_per_s(engine: Engine, manifest: Any, film: Path, n: int) -> float:
    with ExitStack() as stack:
        scores = [
            stack.enter_context(closing(score_source(engine, manifest, open_source(film))))
            for _ in range(n)
        ]
        for stream in scores:
            next(stream)
        start, counts = time.perf_counter(), [0] * n
        alive = set(range(n))
        while alive:
            for k in sorted(alive):
                if next(scores[k], None) is None:
                    alive.discard(k)
                else:
                    counts[k] += 1
        seconds = time.perf_counter() - start
    assert counts == [N_FRAMES - 5] * n, f"films gave {counts} scores after the first"
    return sum(counts) / seconds
