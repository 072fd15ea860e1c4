"""Networks on a GPU, their window already there: eager PyTorch and its compiler at their best, our operators, TensorRT."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench import shapes
from bench.contest import Check, Field, Provider, Target, contest
from bench.device import compiled, device, is_tiny
from bench.networks import cost_of, scorer_of, spec_of, truth_of, windows_of
from bench.peers import tensorrt
from vadfast.compile.backends import Precision
from vadfast.compile.gate import BOUNDS
from vadfast.fusion import fuse

pytestmark = pytest.mark.skipif(
    device().type != "cuda" and not is_tiny(), reason="measures a GPU; none is here"
)

MODES = ("default", "reduce-overhead", "max-autotune")
COMPILED = tuple(f"torch.compile, {mode}, bf16" for mode in MODES)
OURS = "cuda fp16"  # what --target cuda ships
PROVIDERS = (
    "eager",
    "eager, channels last",
    "eager, channels last, bf16",
    *COMPILED,
    "fused, bf16",
    "fused and compiled, bf16",
    OURS,
    "tensorrt",
    "tensorrt fp16, frames of the host",
)
# A float32 of eager PyTorch's own is TF32 in convolutions and, here, in products: 10 bits of mantissa, as float16 has.
BOUND: dict[str, Precision] = {"tf32": "fp16", "bf16": "bf16", "fp16": "fp16"}
Results = tuple[Tensor, ...]


def open_engines(network: shapes.Network, batch: int, stack: ExitStack) -> Field:
    """Opens every form; inputs are the same ``batch`` windows, which no network here finds in a cache for long."""
    if is_tiny():
        network = replace(network, image_size=128, width=8)
    host = _frames(network, batch)
    frames = torch.from_numpy(host).to(device())
    stack.enter_context(_tf32())
    plain = scorer_of(network).to(device())
    last: nn.Module = scorer_of(network).to(device()).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    fused: nn.Module = scorer_of(network).to(device()).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    fuse(fused)
    half = partial(_under_autocast, frames)
    providers = {
        "eager": Provider(partial(_run, plain, frames), dtype="tf32"),
        "eager, channels last": Provider(partial(_run, last, frames), dtype="tf32"),
        "eager, channels last, bf16": Provider(half(last), dtype="bf16"),
        "fused, bf16": Provider(half(fused), dtype="bf16"),
        "fused and compiled, bf16": Provider(half(compiled(fused)), dtype="bf16"),
    }
    for mode, name in zip(MODES, COMPILED, strict=True):
        providers[name] = Provider(half(compiled(last, mode)), dtype="bf16")
    refused: dict[str, str] = {}
    if device().type != "cuda":
        refused |= dict.fromkeys((OURS, *PROVIDERS[-2:]), "runs on a GPU only")
    else:
        providers[OURS] = Provider(_graph(network, frames, stack), dtype="fp16")
        if tensorrt.installed() is None:
            refused |= dict.fromkeys(
                PROVIDERS[-2:], f"not installed ({' or '.join(tensorrt.MODULES)})"
            )
        else:
            plain_trt, ours_trt = _tensorrt(network, frames, host, stack)
            providers |= {
                "tensorrt": Provider(plain_trt, dtype="tf32"),
                "tensorrt fp16, frames of the host": Provider(ours_trt, dtype="fp16"),
            }
    return Field(providers, _checker(network, providers), refused, cost_of(network))


def _frames(network: shapes.Network, batch: int) -> np.ndarray:
    windows = windows_of(network)
    return np.concatenate([windows[i % len(windows)] for i in range(batch)])


@contextmanager
def _tf32() -> Iterator[None]:
    """What eager PyTorch is at its fastest in float32."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=True):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def _graph(network: shapes.Network, frames: Tensor, stack: ExitStack) -> Callable[[int], Results]:
    from vadfast.compile.backends.cuda import CUDAEngine

    engine = CUDAEngine(scorer_of(network), spec_of(network), "fp16", len(frames))
    stack.callback(engine.close)
    return lambda _: engine.on_device(frames)


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
    network: shapes.Network, frames: Tensor, host: np.ndarray, stack: ExitStack
) -> tuple[Callable[[int], Results], Callable[[int], Results]]:
    """TensorRT as its documentation says, and the engine that a bundle loads, whose frames come from the host."""
    from vadfast.compile.export import export_onnx
    from vadfast.compile.half import write_half
    from vadfast.runtime.engines.tensorrt import TensorRTEngine

    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    export_onnx(scorer_of(network), spec_of(network), folder / "model.onnx")
    write_half(folder / "model.onnx", folder / "half.onnx")
    call = tensorrt.load(tensorrt.build(folder / "model.onnx", tuple(frames.shape)), frames)
    engine = TensorRTEngine.load(folder / "half.onnx", precision="fp16", batch=len(host))
    stack.callback(engine.close)

    def ours(_: int) -> Results:
        outputs = engine(host)
        return torch.from_numpy(outputs.components), torch.from_numpy(outputs.heatmap)

    return lambda _: call(), ours


def _checker(
    network: shapes.Network, providers: dict[str, Provider]
) -> Callable[[str, Any], Check]:
    truth = truth_of(network)

    def check(name: str, results: Results) -> Check:
        bounds = BOUNDS[BOUND[providers[name].dtype]]
        components, heatmap = (x.double().cpu().numpy() for x in results)
        which = np.arange(len(components)) % len(truth.components)
        score = float(np.abs(components - truth.components[which]).max())
        cells = float(np.abs(heatmap - truth.heatmap[which]).max() / truth.heatmap.max())
        error = max(score / bounds.score_error["dB"], cells / bounds.heatmap)
        return Check(error, 1.0, "of the gate's bounds")

    return check


def _case(
    network: shapes.Network, *, batch: int = 1, target: Target | None = None, long: bool
) -> Callable[..., None]:
    def open_(stack: ExitStack) -> Field:
        return open_engines(network, batch, stack)

    return contest(
        case=f"{network.name}, batch {batch}, frames on the device",
        shape=network.words(),
        reference="eager",
        providers=PROVIDERS,
        targets={} if target is None else {OURS: target},
        device=lambda: device().type,
        long=long,
    )(open_)


test_adl_full = _case(shapes.ADL_FULL, target=Target(4.0, COMPILED, ahead=1.25), long=False)
test_adl_full_of_16 = _case(
    shapes.ADL_FULL, batch=16, target=Target(3.0, COMPILED, ahead=1.15), long=True
)
test_apn_full = _case(shapes.APN_FULL, long=True)
test_std_full = _case(shapes.STD_FULL, long=True)
