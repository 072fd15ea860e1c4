"""Frame scores on the CPU: predictions in planes of float32 against uint8 frames, in planes as a dataset has them or in pixels as a camera does.

Right is who differs from the PSNR in float64 by 0.0001 dB at most. The memory's own rate is a provider as well: a copy that reads and
writes as many bytes as the scores read.
"""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import Tensor
from vadfast_kernels import ops
from vadfast_kernels.frame_score import native

from bench import shapes
from bench.contest import Check, Field, Provider, Target, contest
from bench.contestants import PSNR, psnr
from bench.device import compiled, shrunk
from bench.shapes import Shape

FRAMES, FILM = shapes.PSNR[0], shapes.FILM
PREDICTED_RANGE = (-1.0, 1.0)
PARTS = 64  # frames at a time, for who keeps errors in memory
PATCHES, CELLS = 4, 16

# A provider of PSNR, of predictions and truth.
Scorer = Callable[[Tensor, Tensor], Any]


def _pair(shape: Shape, *, pixels: bool) -> tuple[Tensor, Tensor]:
    predicted, truth = PSNR.inputs(shrunk(shape), torch.Generator().manual_seed(0))
    return predicted, truth.to(memory_format=torch.channels_last) if pixels else truth


def _in_numpy(predicted: Tensor, truth: Tensor) -> np.ndarray:
    p, t = predicted.numpy(), truth.numpy()
    error = p * np.float32(0.5) + np.float32(0.5) - t.astype(np.float32) / np.float32(255)
    return -10 * np.log10(np.maximum(np.square(error).mean(axis=(1, 2, 3)), 1e-10))


def _fused(predicted: Tensor, truth: Tensor) -> Tensor:
    score = ops.frame_score(predicted, truth, predicted_range=PREDICTED_RANGE, backend="native")
    return score.psnr_db


def _without_torch(predicted: Tensor, truth: Tensor) -> np.ndarray:
    found = native.frame_score(
        predicted.numpy(),
        truth.numpy(),
        predicted_range=PREDICTED_RANGE,
        n_threads=torch.get_num_threads(),
    )
    return found.psnr_db


def _in_parts(scorer: Scorer) -> Scorer:
    def call(predicted: Tensor, truth: Tensor) -> Any:
        parts = zip(predicted.split(PARTS), truth.split(PARTS), strict=True)
        return np.concatenate([np.asarray(scorer(p, t)) for p, t in parts])

    return call


def _open(shape: Shape, scorers: dict[str, Scorer], *, pixels: bool = False) -> Field:
    pair = _pair(shape, pixels=pixels)
    wanted = _in_parts(lambda p, t: psnr(p.double(), t))(*pair)

    def provider(scorer: Scorer) -> Provider:
        return Provider(lambda _: scorer(*pair))

    def check(_: str, result: Any) -> Check:
        return Check(float(np.abs(np.asarray(result) - wanted).max()), 1e-4, "dB")

    providers = {name: provider(scorer) for name, scorer in scorers.items()}
    return Field(providers, check, cost=PSNR.cost(shape) if PSNR.cost else None)


EVERYBODY = ("eager", "eager, compiled", "numpy", "vadfast", "vadfast, without torch")


def _everybody() -> dict[str, Scorer]:
    scorers: tuple[Scorer, ...] = (psnr, compiled(psnr), _in_numpy, _fused, _without_torch)
    return dict(zip(EVERYBODY, scorers, strict=True))


@contest(
    case="psnr, 64 frames in planes",
    shape=FRAMES.words,
    reference="eager",
    providers=EVERYBODY,
    targets={"vadfast": Target(4.0, ("eager, compiled", "numpy"))},
)
def test_planes(stack: ExitStack) -> Field:
    """As a dataset has them."""
    return _open(FRAMES, _everybody())


@contest(
    case="psnr, one frame of 64 cameras, in pixels",
    shape=FRAMES.words,
    reference="eager",
    providers=EVERYBODY,
    targets={"vadfast": Target(4.0, ("eager, compiled", "numpy"))},
)
def test_pixels(stack: ExitStack) -> Field:
    """As a camera gives them, and a ring keeps them."""
    return _open(FRAMES, _everybody(), pixels=True)


@contest(
    case="psnr, 64 frames in planes, beside NumPy",
    shape=FRAMES.words,
    reference="numpy",
    providers=("numpy", "vadfast"),
    targets={"vadfast": Target(8.0, ())},
)
def test_beside_numpy(stack: ExitStack) -> Field:
    """What a program without torch would write."""
    return _open(FRAMES, {"numpy": _in_numpy, "vadfast": _fused})


@contest(
    case="psnr, 2,000 frames",
    shape=FILM.words,
    reference="eager",
    providers=("eager", "numpy", "vadfast"),
    targets={"vadfast": Target(4.0, ("numpy",))},
    long=True,
)
def test_film(stack: ExitStack) -> Field:
    """Offline: a film in one call; eager and NumPy, which keep its errors in memory, in parts."""
    return _open(FILM, {"eager": _in_parts(psnr), "numpy": _in_parts(_in_numpy), "vadfast": _fused})


@contest(
    case="psnr, 64 frames, beside a copy",
    shape=FRAMES.words,
    reference="copy",
    providers=("copy", "vadfast", "vadfast in pixels"),
    targets={"vadfast": Target(0.6, ()), "vadfast in pixels": Target(0.6, ())},
)
def test_beside_a_copy(stack: ExitStack) -> Field:
    """What share of the memory's rate scoring reaches: a copy reads half of the bytes and writes the other half."""
    field = _open(FRAMES, {"vadfast": _fused})
    predicted, truth = _pair(FRAMES, pixels=True)
    # Turn by turn through four of them: half of the bytes alone would stay in a large cache.
    source = torch.arange((predicted.nbytes + truth.nbytes) // 2).to(torch.uint8).repeat(4, 1)
    target = torch.empty_like(source)
    providers = {
        "copy": Provider(lambda i: target[i % 4].copy_(source[i % 4]), dtype="bytes"),
        "vadfast": field.providers["vadfast"],
        "vadfast in pixels": Provider(lambda _: _fused(predicted, truth)),
    }

    def check(name: str, result: Any) -> Check:
        if name == "copy":
            return Check(float((result != source[0]).sum()), 0, "values")
        return field.check(name, result)

    return Field(providers, check, cost=field.cost)


def _eager_grids(predicted: Tensor, truth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """PSNR, worst patch and heat map of sides that the cells divide."""
    e = (predicted * 0.5 + 0.5 - truth.to(predicted.dtype) / 255).square().mean(dim=1)

    def cells(n: int) -> Tensor:
        return e.unflatten(2, (n, -1)).unflatten(1, (n, -1)).mean(dim=(2, 4))

    psnr_db = -10 * torch.log10(e.mean(dim=(1, 2)).clamp_min(1e-10))
    return psnr_db, cells(PATCHES).amax(dim=(1, 2)), cells(CELLS)


def _fused_grids(predicted: Tensor, truth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    score = ops.frame_score(
        predicted,
        truth,
        predicted_range=PREDICTED_RANGE,
        patches=(PATCHES, PATCHES),
        heatmap=(CELLS, CELLS),
        backend="native",
    )
    return score.psnr_db, score.worst, score.heatmap


@contest(
    case="psnr, worst of 4x4 patches and 16x16 heat map, 64 cameras",
    shape=FRAMES.words,
    reference="eager",
    providers=("eager", "eager, compiled", "vadfast"),
    targets={"vadfast": Target(4.0, ("eager, compiled",))},
)
def test_grids(stack: ExitStack) -> Field:
    """Everything an operator is shown of a frame, in one pass."""
    # A dry run's frames are smaller than the grids.
    sizes = {k: max(n, CELLS) if k in "HW" else n for k, n in shrunk(FRAMES).sizes.items()}
    shape = Shape(FRAMES.name, sizes, FRAMES.source)
    predicted, truth = PSNR.inputs(shape, torch.Generator().manual_seed(0))
    truth = truth.to(memory_format=torch.channels_last)
    wanted = _eager_grids(predicted.double(), truth)
    functions = {"eager": _eager_grids, "eager, compiled": compiled(_eager_grids), "vadfast": _fused_grids}  # fmt: skip

    def check(_: str, result: tuple[Tensor, ...]) -> Check:
        errors = (
            float((r.double() - w).abs().max() / w.abs().max())
            for r, w in zip(result, wanted, strict=True)
        )
        return Check(max(errors), 1e-5, "of the largest value")

    def provider(function: Callable[[Tensor, Tensor], Any]) -> Provider:
        return Provider(lambda _: function(predicted, truth))

    cost = PSNR.cost(FRAMES) if PSNR.cost else None
    return Field({n: provider(f) for n, f in functions.items()}, check, cost=cost)
