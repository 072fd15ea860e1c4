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
import torch

from bench import shapes
from bench.bundles import make_bundle
from bench.conftest import Desk
from bench.suites.test_engines import scorer_of, spec_of, windows_of
from vadfast.compile.backends import Backend, Workshop
from vadfast.compile.backends.mnn import MNNBackend
from vadfast.compile.backends.openvino import OpenVINOBackend
from vadfast.compile.export import export_onnx
from vadfast.compile.gate import BOUNDS
from vadfast.compile.race import alternate
from vadfast.data import synthetic
from vadfast.progress import steps
from vadfast.runtime.bundle import open_bundle
from vadfast.runtime.engine import Engine, open_engine
from vadfast.runtime.session import score_source
from vadfast.runtime.source import open_source

SIZES, BATCHES = (64, 96, 128, 192, 256), (1, 2, 4, 8)
CAMERAS, RATE = (1, 2, 4, 8), 10.0  # frames/s a camera is scored at
N_FRAMES = 150


def _gflop(network: shapes.Network) -> float:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        scorer_of(network)(torch.from_numpy(windows_of(network)[0]))
    return float(counter.get_total_flops()) / 1e9


def _engine(backend: Backend, network: shapes.Network, batch: int, folder: Path) -> Engine:
    folder.mkdir(parents=True, exist_ok=True)
    scorer, spec = scorer_of(network), spec_of(network)
    export_onnx(scorer, spec, folder / "model.onnx")
    return backend.build(Workshop(scorer, spec, folder, folder), "fp32", batch)


def _call(engine: Engine, window: np.ndarray, _: int) -> object:
    return engine(window)


def _error_db(engine: Engine, network: shapes.Network, window: np.ndarray) -> float:
    with torch.no_grad():
        truth = scorer_of(network)(torch.from_numpy(window))[0].numpy()
    return float(np.abs(engine(window).components - truth).max())


@pytest.mark.parametrize("axis", ["resolution", "batch"])
def test_growth(axis: str, desk: Desk, tmp_path: Path) -> None:
    """Float32 at width 16, on both engines that ship first somewhere: resolution at batch 1, batch at 128 px."""
    sizes = [(s, 1) for s in SIZES] if axis == "resolution" else [(128, b) for b in BATCHES]
    cases = [(backend, *size) for backend in (MNNBackend(), OpenVINOBackend()) for size in sizes]
    rounds = 3 if desk.quick else 15
    calls: list[Callable[[int], object]] = []
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        for backend, size, batch in cases:
            network = replace(shapes.ADL_SMALL, name=f"adl-{size}", image_size=size)
            engine = _engine(backend, network, batch, tmp_path / f"{size}-{batch}")
            stack.callback(engine.close)
            window = windows_of(network)[0].repeat(batch, axis=0)
            error = _error_db(engine, network, window)
            bound = BOUNDS["fp32"].score_error["dB"]
            assert error <= bound, (
                f"{backend.name}, {size} px, batch {batch}: off by {error} dB, allowed {bound}"
            )
            calls.append(partial(_call, engine, window))
            rows.append(
                {
                    "provider": f"{backend.name}, {size}x{size}, batch {batch}",
                    "dtype": "fp32",
                    "shape": network.words(batch),
                    "gflop": float(f"{batch * _gflop(network):.4g}"),
                    "verified": f"error {error:.2g} dB of {bound:g} dB allowed",
                }
            )
        with steps(f"scaling with {axis}", len(calls) * (rounds + 1)) as bar:
            timings = alternate(calls, rounds=rounds, steps=bar)
    for row, (_, _, batch), timing in zip(rows, cases, timings, strict=True):
        q20, q80 = np.quantile(timing.round_ms, [0.2, 0.8])
        ms = timing.median_ms
        row |= {"median_ms": round(ms, 3), "q20_ms": round(q20, 3), "q80_ms": round(q80, 3)}
        row["note"] = f"{ms / batch:.3g} ms a frame, {row['gflop'] / ms * 1e3:.0f} GFLOP/s"
    desk.record("scaling", f"adl, width 16, by {axis}", rows)


def test_cameras(desk: Desk) -> None:
    """One engine, N films decoded beside each other: frames/s in all, against what one film alone predicts."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        bundle = open_bundle(make_bundle(shapes.ADL_SMALL, folder))
        film = folder / "film.mp4"
        synthetic.write_film(film, synthetic.film(3, N_FRAMES))
        engine = open_engine(bundle)
        rounds = 1 if desk.quick else 3
        rates: dict[int, list[float]] = {n: [] for n in CAMERAS}
        for _ in range(rounds):
            for n, seen in rates.items():
                seen.append(_frames_per_s(engine, bundle.manifest, film, n))
        engine.close()
    alone = statistics.median(rates[1])
    rows: list[dict[str, Any]] = [
        {
            "provider": f"{n} film{'s' if n > 1 else ''} at once",
            "value": round(statistics.median(seen), 1),
            "unit": "frames/s in all",
            "verified": f"every film gave its {N_FRAMES - 4} scores",
            "note": f"{statistics.median(seen) / alone:.2f} of one film's rate; {min(seen):.0f} to {max(seen):.0f} "
            f"over {rounds} rounds",
        }
        for n, seen in rates.items()
    ]
    rows.append(
        {
            "provider": "cameras that fit",
            "value": int(alone / RATE),
            "unit": f"at {RATE:g} frames/s",
            "kind": "predicted",
            "note": "one film's rate divided by a camera's; the rows above are its check",
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
