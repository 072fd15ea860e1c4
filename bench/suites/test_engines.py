"""Engines: one window through every backend and through the same libraries used plainly, against eager PyTorch.

Verified by the scores in float64.
"""

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bench import shapes
from bench.child import KEEP_FREED_MEMORY, child
from bench.contest import Check, Field, Provider, Target, contest
from bench.device import is_quick
from bench.networks import (
    N_WINDOWS,
    cost_of,
    scorecard_of,
    scorer_of,
    spec_of,
    truth_of,
    windows_of,
)
from vadfast.compile.answers import Scored
from vadfast.compile.backends import Precision, Workshop, backends_of, refusal
from vadfast.compile.export import export_onnx
from vadfast.compile.gate import BOUNDS
from vadfast.compile.int8 import make_int8
from vadfast.compile.windows import Run
from vadfast.errors import BackendError
from vadfast.models.eager import EagerEngine
from vadfast.runtime.engine import Engine, Outputs

PROVIDERS = (
    "eager",
    "eager, freed memory kept",
    "eager, channels last",
    "eager, NNPACK",
    "torch.compile",
    "torch.compile, max-autotune and freezing",
    "inductor",
    "onnxruntime, plain",
    "openvino, plain",
    "openvino, plain, fp32",
    "onnxruntime",
    "openvino",
    "openvino bf16",
    "onnxruntime int8",
    "openvino int8",
    "openvino int8-bf16",
    "mnn",
)
# What compiling with one library, as its own documentation says, would have given.
PLAIN = ("openvino, plain", "onnxruntime, plain")


def eager_call(network: shapes.Network, *, channels_last: bool = False) -> Callable[[int], Outputs]:
    """Eager PyTorch on those windows; also what the child process runs."""
    scorer = scorer_of(network)
    if channels_last:
        scorer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return _caller(EagerEngine(scorer, spec_of(network)), windows_of(network))


class _Winograd(nn.Module):
    """A 3x3 convolution by NNPACK's Winograd kernel, which torch holds and uses by itself only for large batches."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch._nnpack_spatial_convolution(x, self.weight, self.bias, [1, 1], [1, 1])


def _with_winograd(scorer: nn.Module) -> nn.Module:
    for parent in list(scorer.modules()):
        for name, module in list(parent.named_children()):
            if isinstance(module, nn.Conv2d) and _form(module) == ((3, 3), (1, 1), (1, 1), 1):
                setattr(parent, name, _Winograd(module))
    return scorer


def _form(module: nn.Conv2d) -> tuple[Any, ...]:
    return module.kernel_size, module.stride, module.padding, module.groups


def _compiled(network: shapes.Network, mode: str) -> Callable[[int], Outputs]:
    """torch.compile of the scorer; it compiles at its first call."""
    torch._dynamo.reset()
    scorer = scorer_of(network)
    scorer.compile(fullgraph=True, mode=mode)
    return _caller(EagerEngine(scorer, spec_of(network)), windows_of(network))


def _frozen(network: shapes.Network) -> Callable[[int], Outputs]:
    """All that Inductor offers for inference: its slowest search, and weights as constants in the layout of the CPU's products."""
    from torch._inductor import config

    call = _compiled(network, "max-autotune")
    with config.patch(freezing=True):
        call(0)
    return call


def open_engines(network: shapes.Network, stack: ExitStack) -> Field:
    """Builds what can run here, and says of the rest why not."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    windows, spec = windows_of(network), spec_of(network)
    export_onnx(scorer_of(network), spec, folder / "model.onnx")
    _export_plainly(network, folder / "plain.onnx")
    kept = stack.enter_context(child(eager_call, network, environment=KEEP_FREED_MEMORY))
    providers = {
        "eager, freed memory kept": Provider(kept),
        "eager, channels last": Provider(eager_call(network, channels_last=True)),
        "eager, NNPACK": Provider(
            _caller(EagerEngine(_with_winograd(scorer_of(network)), spec), windows)
        ),
        "torch.compile": Provider(_compiled(network, "default")),
        "onnxruntime, plain": Provider(_plain_onnxruntime(folder / "plain.onnx", windows)),
        "openvino, plain": _plain_openvino(folder / "plain.onnx", windows),
        "openvino, plain, fp32": _plain_openvino(
            folder / "plain.onnx", windows, INFERENCE_PRECISION_HINT="f32"
        ),
    }
    refused: dict[str, str] = {}
    slowest_search = "torch.compile, max-autotune and freezing"
    if is_quick():
        refused[slowest_search] = "it searches for a minute; run without --quick"
    else:
        providers[slowest_search] = Provider(_frozen(network))
    # Not the run's folder: no backend that is raced here copies files of a run.
    workshop = Workshop(scorer_of(network), spec, folder, folder)
    in_8_bits = _in_8_bits(network, workshop)
    for backend in backends_of("cpu"):
        for precision in backend.precisions:
            name = backend.name if precision == "fp32" else f"{backend.name} {precision}"
            reason = refusal(backend, precision)
            if reason is None and precision.startswith("int8"):
                reason = in_8_bits or None
            if reason is not None:
                refused[name] = reason
                continue
            try:
                engine: Engine = (
                    EagerEngine(workshop.scorer, spec)
                    if backend.name == "eager"
                    else backend.build(workshop, precision, 1)
                )
            except BackendError as error:
                refused[name] = str(error).replace(f"{folder}/", "")
                continue
            stack.callback(engine.close)
            providers[name] = Provider(_caller(engine, windows), dtype=precision)
    checked = {n: replace(p, result=_of_all_windows(p.call)) for n, p in providers.items()}
    return Field(checked, _checker(network, providers), refused, cost_of(network))


def _in_8_bits(network: shapes.Network, workshop: Workshop) -> str:
    """Makes the model in 8 bits, each window a video of its own; returns why there is none, or nothing.

    Random weights keep fewer layers in float than trained ones: docs/bundles.md has a trained network.
    """
    if is_quick():
        return "its layers are tried for a minute; run without --quick"
    backend = next(b for b in backends_of("cpu") if b.name == "openvino")
    precision: Precision = "int8-bf16" if refusal(backend, "int8-bf16") is None else "int8"
    if (reason := refusal(backend, precision)) is not None:
        return reason
    truth, n = truth_of(network), workshop.spec.n_frames
    runs = [Run(f"window {i}", n - 1, w[0], None, n) for i, w in enumerate(windows_of(network))]
    scored = Scored([c[None] for c in truth.components], [h[None] for h in truth.heatmap])
    return make_int8(workshop, backend, precision, runs, scored, scorecard_of(network)).refused


def _caller(engine: Engine, windows: list[np.ndarray]) -> Callable[[int], Outputs]:
    return lambda i: engine(windows[i % len(windows)])


def _export_plainly(network: shapes.Network, target: Path) -> None:
    """The layers as they are written, by PyTorch's own exporter: what there is without ``vadfast.compile``."""
    torch.onnx.export(
        scorer_of(network),
        (torch.from_numpy(windows_of(network)[0]),),
        target,
        dynamo=True,
        external_data=False,
        verbose=False,
        input_names=["frames"],
        output_names=["components", "heatmap"],
    )


def _plain_onnxruntime(model: Path, windows: list[np.ndarray]) -> Callable[[int], Outputs]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    return lambda i: Outputs(*session.run(None, {"frames": windows[i % len(windows)]}))


def _plain_openvino(model: Path, windows: list[np.ndarray], **told: str) -> Provider:
    import openvino

    # Its own advice for one stream of requests is the latency hint; the batch is fixed as ours is. The precision is its own
    # choice where it is not told: on a CPU with bf16 it takes that.
    loaded = openvino.Core().read_model(model)
    loaded.reshape({"frames": list(windows[0].shape)})
    compiled = openvino.compile_model(loaded, "CPU", {"PERFORMANCE_HINT": "LATENCY", **told})
    chosen = str(compiled.get_property("INFERENCE_PRECISION_HINT"))

    def call(i: int) -> Outputs:
        results = compiled(windows[i % len(windows)])
        return Outputs(results["components"], results["heatmap"])

    return Provider(call, dtype="bf16" if "bf" in chosen else "fp32")


def _checker(
    network: shapes.Network, providers: dict[str, Provider]
) -> Callable[[str, Any], Check]:
    truth = truth_of(network)

    def check(name: str, results: list[Outputs]) -> Check:
        # The gate's bounds, on every window: what vadfast.compile would not ship is not timed.
        bounds = next(b for precision, b in BOUNDS.items() if precision == providers[name].dtype)
        got = np.concatenate([outputs.components for outputs in results])
        maps = np.concatenate([outputs.heatmap for outputs in results])
        score = float(np.abs(got - truth.components).max()) / bounds.score_error["dB"]
        heatmap = float(np.abs(maps - truth.heatmap).max() / truth.heatmap.max()) / bounds.heatmap
        return Check(max(score, heatmap), 1.0, "of the gate's bounds")

    return check


def _of_all_windows(call: Callable[[int], Outputs]) -> Callable[[int], list[Outputs]]:
    return lambda _: [call(i) for i in range(N_WINDOWS)]


@contest(
    case="adl-256, batch 1",
    shape=shapes.ADL_FULL.words(),
    reference="eager",
    providers=PROVIDERS,
    targets={
        "mnn": Target(1.6, PLAIN),
        "openvino bf16": Target(3.0, PLAIN),
        "openvino int8-bf16": Target(4.5, ()),
    },
)
def test_adl_full(stack: ExitStack) -> Field:
    """The published network, 7.7 M parameters at 256x256."""
    return open_engines(shapes.ADL_FULL, stack)


@contest(
    case="adl-128, batch 1",
    shape=shapes.ADL_SMALL.words(),
    reference="eager",
    providers=PROVIDERS,
    long=True,
)
def test_adl_small(stack: ExitStack) -> Field:
    """The network of the Ped2 runs, width 16 at 128x128."""
    return open_engines(shapes.ADL_SMALL, stack)


@contest(
    case="apn-256, batch 1",
    shape=shapes.APN_FULL.words(),
    reference="eager",
    providers=PROVIDERS,
    # What the released graph was measured with in OpenVINO, 730 ms in float32 and 434 in bf16 where eager took 1,850, by 1.5 and by 2.
    targets={"openvino": Target(3.8, ()), "openvino bf16": Target(8.6, PLAIN)},
    long=True,
)
def test_apn_full(stack: ExitStack) -> Field:
    """The released network: criss-cross attention at three levels, ten prototypes."""
    return open_engines(shapes.APN_FULL, stack)


@contest(
    case="std-256, batch 1",
    shape=shapes.STD_FULL.words(),
    reference="eager",
    providers=PROVIDERS,
    long=True,
)
def test_std_full(stack: ExitStack) -> Field:
    """The released networks, appearance and motion, with variance attention."""
    return open_engines(shapes.STD_FULL, stack)
