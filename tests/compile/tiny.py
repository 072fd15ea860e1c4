"""A tiny scorer, tiny films in memory and a small manifest: what the compile tests need, made in milliseconds."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vadfast.compile.bundle import GOLDEN
from vadfast.compile.gate import Scorecard
from vadfast.compile.windows import PlannedRun
from vadfast.runtime.manifest import (
    FORMAT_VERSION,
    AlertRule,
    Artefact,
    Calibration,
    Chain,
    Component,
    ComponentStatistics,
    ExponentialMean,
    InputSpec,
    Manifest,
    MinMax,
    RobustZ,
)
from vadfast.runtime.source import Frame

SPEC = InputSpec(n_frames=3, height=16, width=24)
CARD = Scorecard(
    components=(Component(name="psnr", unit="dB", high_is="normal"),),
    paper_chain=Chain(steps=(MinMax(),), weights={"psnr": 1.0}),
    causal_chain=Chain(
        steps=(RobustZ(), ExponentialMean(half_life_frames=2.0)), weights={"psnr": 1.0}
    ),
)


class TinyScorer(nn.Module):
    """Predicts the last frame from those before it by two convolutions; PSNR and an error map, like every scorer."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(6, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1), nn.Tanh()
        )

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        clip = frames.float().permute(0, 1, 4, 2, 3) / 127.5 - 1
        error = ((self.net(clip[:, :-1].flatten(1, 2)) - clip[:, -1]) / 2).square()
        psnr = -10 * torch.log10(error.mean(dim=(1, 2, 3)).clamp_min(1e-10))
        return psnr[:, None], F.avg_pool2d(error.mean(dim=1, keepdim=True), 8)[:, 0]


def film(
    n: int, *, seed: int, labels: npt.NDArray[np.uint8] | None = None
) -> npt.NDArray[np.uint8]:
    """Noise with a drifting level; frames labelled abnormal flicker."""
    rng = np.random.default_rng(seed)
    frames = rng.integers(90, 110, (n, SPEC.height, SPEC.width, 3)).astype(np.float64)
    frames += 15 * np.sin(np.arange(n) / 7)[:, None, None, None]
    if labels is not None:
        frames += (labels * rng.uniform(-60, 60, n))[:, None, None, None]
    return frames.clip(0, 255).astype(np.uint8)


@dataclass(frozen=True)
class FilmSource:
    """A source whose frames are in memory."""

    name: str
    images: npt.NDArray[np.uint8]
    declared: int | None = None
    path: Path = field(default_factory=lambda: Path("film"))
    fps: float | None = None

    @property
    def n_frames(self) -> int | None:
        return len(self.images) if self.declared is None else self.declared

    def __iter__(self) -> Iterator[Frame]:
        return (Frame(image, i, float(i)) for i, image in enumerate(self.images))


def planned(n: int, *, seed: int, labels: npt.NDArray[np.uint8] | None = None) -> PlannedRun:
    """A run over a whole film."""
    images = film(n, seed=seed, labels=labels)
    first = SPEC.n_frames - 1
    return PlannedRun(
        FilmSource(f"film {seed}", images),
        first,
        n - first,
        None if labels is None else labels[first:],
    )


def manifest() -> Manifest:
    """A valid manifest of the tiny scorer, not yet sealed."""
    return Manifest(
        format_version=FORMAT_VERSION,
        minimum_runtime="0.1.0",
        vadfast_version="0.1.0",
        created="2026-01-01T00:00:00+00:00",
        method="tiny",
        checkpoint_sha256="0" * 64,
        input=SPEC,
        components=CARD.components,
        heatmap=(2, 3),
        paper_chain=CARD.paper_chain,
        causal_chain=CARD.causal_chain,
        calibration=Calibration(
            source="made",
            n_frames=100,
            components={"psnr": ComponentStatistics(median=10, scale=1)},
            score_quantiles={"0.5": 0.0},
        ),
        alert=AlertRule(
            threshold=3, clear_threshold=2, raise_count=3, raise_window=5, clear_count=10
        ),
        artefacts=(
            Artefact(
                backend="openvino",
                precision="fp32",
                batch=1,
                path="model.onnx",
                versions={},
                median_ms=1.0,
                tolerance={"psnr": 0.01},
            ),
        ),
        golden=GOLDEN,
        gate={},
        race=(),
        files={},
    )
