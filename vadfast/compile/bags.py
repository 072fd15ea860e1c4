"""From a run that scores bags to a bundle: export, gate on real bags, seal; nothing appears under ``--out`` before it has passed."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from vadfast.cli import talk
from vadfast.compile.bag_scorer import BagScorer
from vadfast.compile.bundle import (
    MINIMUM_RUNTIME,
    GoldenWindows,
    check_target,
    now,
    write_bundle,
)
from vadfast.compile.export import write_onnx
from vadfast.compile.signing import open_key
from vadfast.data.bags import load_features, stack_bags
from vadfast.errors import GateError, UsageError
from vadfast.fusion.fuse import fuse
from vadfast.models.registry import open_run
from vadfast.models.sta import Network
from vadfast.runtime.bag_manifest import BagManifest, BagSpec
from vadfast.runtime.bags import SCORE, BagEngine
from vadfast.runtime.manifest import FORMAT_VERSION, Artefact, Golden

# Scores are probabilities, of logits with an error of some 1e-6: a hundred times that, and far below what moves an alert.
BOUND = 1e-4
GOLDEN = Golden(frames="golden/bags.npy", components="golden/scores.npy")
N_GOLDEN = 4
MAX_GATE_BAGS = 64


@dataclass(frozen=True, slots=True)
class BagReport:
    """What a compile run of bags tells."""

    bundle: Path
    gate: dict[str, Any]
    size: int  # bytes of the bundle

    def to_json(self) -> dict[str, Any]:
        """Returns the document of ``--json``."""
        return {"bundle": str(self.bundle), "gate": self.gate}


def build_bag_bundle(
    run: Path, out: Path, data: Path | None, sign: Path | None = None
) -> BagReport:
    """Compiles ``run`` into ``out``; ``data`` are features to gate on, None: those it was trained on; ``sign`` as ``Options.sign``.

    Raises:
        UsageError: the run, the data or ``out`` is not usable.
        BuildError: the network cannot be exported.
        GateError: the exported graph does not keep the scores; nothing is written.
    """
    from vadfast import __version__

    stored, key = open_run(run), open_key(sign)
    check_target(out)
    options = stored.config.options
    spec = BagSpec(n_segments=options.n_segments, n_features=options.n_features)
    root = Path(stored.config.data) if data is None else data
    if not root.exists():
        raise UsageError(
            f"--data: the run was trained on {root}, which is not here; give features to compare scores on by --data DIR"
        )
    dataset = load_features(root)
    videos = dataset.test or dataset.train
    chosen = [
        videos[i]
        for i in np.unique(np.linspace(0, len(videos) - 1, MAX_GATE_BAGS).round().astype(int))
    ]
    stack = stack_bags(
        chosen, n_segments=spec.n_segments, n_features=spec.n_features, name="reading bags"
    )
    network = cast(Network, stored.network).eval()
    scorer = BagScorer(network).eval()
    fuse(network, "infer")
    with torch.inference_mode():
        expected = np.concatenate(
            [network(part).scores.numpy() for part in torch.from_numpy(stack.bags).split(8)]
        )
    with tempfile.TemporaryDirectory(prefix="vadfast-compile-") as scratch:
        folder = Path(scratch)
        talk.print(
            f"exporting {stored.config.method} (bags of {spec.n_segments} x {spec.n_features}) to ONNX"
        )
        _export(scorer, spec, folder / "model.onnx")
        gate, median_ms = _gate(folder / "model.onnx", spec, stack.bags, expected)
        manifest = BagManifest(
            format_version=FORMAT_VERSION,
            minimum_runtime=MINIMUM_RUNTIME,
            vadfast_version=__version__,
            created=now(),
            method=stored.config.method,
            checkpoint_sha256=stored.checkpoint_sha256,
            input=spec,
            artefacts=(_artefact(median_ms),),
            golden=GOLDEN,
            gate=gate,
            files={},
        )
        golden = GoldenWindows(stack.bags[:N_GOLDEN], expected[:N_GOLDEN])
        talk.print(f"writing {out}", markup=False)
        sealed = write_bundle(
            out, manifest, folder=folder, files=["model.onnx"], golden=golden, key=key
        )
    return BagReport(out, gate, sum(record.size for record in sealed.files.values()))


def _export(scorer: BagScorer, spec: BagSpec, target: Path) -> None:
    bags = torch.zeros(2, spec.n_segments, spec.n_features)  # 1 would be taken for constant
    write_onnx(scorer, bags, target, takes="bags", returns=["scores"])


def _gate(
    model: Path, spec: BagSpec, bags: np.ndarray, expected: np.ndarray
) -> tuple[dict[str, Any], float]:
    """Compares the scores of real bags with those of eager float32; returns what to record, and the time of a bag."""
    engine = BagEngine(model, spec)
    times, scores = [], []
    for bag in bags:
        start = time.perf_counter()
        scores.append(engine(bag[None]))
        times.append((time.perf_counter() - start) * 1e3)
    error = float(np.abs(np.concatenate(scores) - expected).max())
    gate = {
        "n_bags": len(bags),
        "max_score_error": error,
        "allowed": BOUND,
        "median_ms": float(np.median(times)),
    }
    if not error <= BOUND:
        raise GateError(
            f"gate: scores of {len(bags)} bags must be within {BOUND:g} of eager float32, are off by {error:.3g}; nothing was "
            "written; report this with the run",
            {"bundle": None, "gate": gate},
        )
    return gate, gate["median_ms"]


def _artefact(median_ms: float) -> Artefact:
    import onnxruntime

    return Artefact(
        backend=BagEngine.backend,
        precision="fp32",
        batch=1,
        path="model.onnx",
        versions={"onnxruntime": onnxruntime.__version__},
        median_ms=median_ms,
        tolerance={SCORE: BOUND},
    )
