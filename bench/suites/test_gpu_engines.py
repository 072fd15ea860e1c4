"""Networks on a GPU, their window already there: eager PyTorch and its compiler at their best, our operators, TensorRT."""

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench import shapes
from bench.contest import Check, Field, Provider, contest
from bench.device import compiled, device, is_tiny
from bench.networks import cost_of, scorer_of, spec_of, truth_of, windows_of
from bench.peers import tensorrt
from vadfast.compile.gate import BOUNDS
from vadfast.fusion import fuse

pytestmark = pytest.mark.skipif(
    device().type != "cuda" and not is_tiny(), reason="measures a GPU; none is here"
)

MODES = ("default", "reduce-overhead", "max-autotune")
PROVIDERS = (
    "eager",
    "eager, channels last",
    "eager, channels last, bf16",
    *(f"torch.compile, {mode}, bf16" for mode in MODES),
    "fused, bf16",
    "fused and compiled, bf16",
    "tensorrt",
)
Results = tuple[Tensor, ...]


def open_engines(network: shapes.Network, stack: ExitStack) -> Field:
    """Opens every form; inputs are the same window, which no network here finds in a cache for long."""
    if is_tiny():
        network = replace(network, image_size=128, width=8)
    frames = torch.from_numpy(windows_of(network)[0]).to(device())
    plain = scorer_of(network).to(device())
    last: nn.Module = scorer_of(network).to(device()).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    fused: nn.Module = scorer_of(network).to(device()).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    fuse(fused)
    half = partial(_under_autocast, frames)
    providers = {
        "eager": Provider(partial(_run, plain, frames)),
        "eager, channels last": Provider(partial(_run, last, frames)),
        "eager, channels last, bf16": Provider(half(last), dtype="bf16"),
        "fused, bf16": Provider(half(fused), dtype="bf16"),
        "fused and compiled, bf16": Provider(half(compiled(fused)), dtype="bf16"),
    }
    for mode in MODES:
        call = half(compiled(last, mode))
        providers[f"torch.compile, {mode}, bf16"] = Provider(call, dtype="bf16")
    refused = {}
    if tensorrt.installed() is None:
        refused["tensorrt"] = f"not installed ({' or '.join(tensorrt.MODULES)})"
    elif device().type != "cuda":
        refused["tensorrt"] = "runs on a GPU only"
    else:
        providers["tensorrt"] = Provider(_tensorrt(network, frames, stack))
    return Field(providers, _checker(network, providers), refused, cost_of(network))


def _run(scorer: Callable[[Tensor], Results], frames: Tensor, _: int) -> Results:
    with torch.inference_mode():
        return scorer(frames)


def _under_autocast(
    frames: Tensor, scorer: Callable[[Tensor], Results]
) -> Callable[[int], Results]:
    def call(_: int) -> Results:
        with torch.inference_mode(), torch.autocast(device().type, torch.bfloat16):
            return scorer(frames)

    return call


def _tensorrt(
    network: shapes.Network, frames: Tensor, stack: ExitStack
) -> Callable[[int], Results]:
    from vadfast.compile.export import export_onnx

    model = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "model.onnx"
    export_onnx(scorer_of(network), spec_of(network), model)
    call = tensorrt.load(tensorrt.build(model, tuple(frames.shape)), frames)
    return lambda _: call()


def _checker(
    network: shapes.Network, providers: dict[str, Provider]
) -> Callable[[str, Any], Check]:
    truth = truth_of(network)

    def check(name: str, results: Results) -> Check:
        bounds = BOUNDS["bf16" if providers[name].dtype == "bf16" else "fp32"]
        components, heatmap = (x.double().cpu().numpy() for x in results)
        score = float(np.abs(components - truth.components[:1]).max())
        cells = float(np.abs(heatmap - truth.heatmap[:1]).max() / truth.heatmap[:1].max())
        error = max(score / bounds.score_error["dB"], cells / bounds.heatmap)
        return Check(error, 1.0, "of the gate's bounds")

    return check


def _case(network: shapes.Network, *, long: bool) -> Callable[..., None]:
    def open_(stack: ExitStack) -> Field:
        return open_engines(network, stack)

    return contest(
        case=f"{network.name}, batch 1, window on the device",
        shape=network.words(),
        reference="eager",
        providers=PROVIDERS,
        device=lambda: device().type,
        long=long,
    )(open_)


test_adl_full = _case(shapes.ADL_FULL, long=False)
test_apn_full = _case(shapes.APN_FULL, long=True)
test_std_full = _case(shapes.STD_FULL, long=True)
