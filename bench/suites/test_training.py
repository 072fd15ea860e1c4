"""The gradients of a training step of ADL (content and gradient loss, batch 4): eager, with freed memory kept, channels last, compiled.

The optimiser's update, the same for all, is not in it. A provider is right if every gradient is that of float64. Inductor of torch
2.13 is not on two CPU threads: of both losses together its gradients are off by a quarter, of either alone, or on one thread, by
1e-5.
"""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench import shapes
from bench.child import KEEP_FREED_MEMORY, child
from bench.contest import Check, Field, Provider, contest
from bench.device import compiled, device, is_tiny
from vadfast.models import adl
from vadfast.models.prediction import signed_clip

BATCH = 4
PROVIDERS = ("eager", "eager, freed memory kept", "eager, channels last", "compiled")


CHECK = -1  # the number of the call that is asked for its gradients; timed calls return nothing


def step_call(
    network: shapes.Network, *, form: str = "eager", dtype: torch.dtype = torch.float32
) -> Callable[[int], list[np.ndarray] | None]:
    """A call makes the gradients of one batch; call ``CHECK`` returns them, float64."""
    side, width = (32, 4) if is_tiny() else (network.image_size, network.width)
    torch.manual_seed(0)
    generator = adl.Generator(adl.ADLConfig(image_size=side, width=width)).to(device(), dtype)
    frames = torch.randint(0, 256, (BATCH, adl.N_FRAMES, side, side, 3), dtype=torch.uint8)
    clip = signed_clip(frames).to(device(), dtype)
    if form == "eager, channels last":
        generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def losses(clip: Tensor) -> Tensor:
        target, map_ = clip[:, -1], adl.attention_map(clip)
        predicted = adl.predict(generator, clip)
        content = adl.content_loss(predicted, target, map_)
        return content + adl.gradient_loss(predicted, target, map_)

    function: Callable[[Tensor], Tensor] = compiled(losses) if form == "compiled" else losses

    def call(i: int) -> list[np.ndarray] | None:
        generator.zero_grad(set_to_none=True)
        function(clip).backward()
        if i != CHECK:
            return None
        gradients = (p.grad for p in generator.parameters() if p.grad is not None)
        return [g.double().cpu().contiguous().numpy() for g in gradients]

    return call


def open_training(network: shapes.Network, stack: ExitStack) -> Field:
    """Opens all forms of the step."""
    truth = step_call(network, dtype=torch.float64)(CHECK)
    assert truth is not None
    calls = {form: step_call(network, form=form) for form in PROVIDERS if "kept" not in form}
    refused = {}
    if device().type == "cpu":
        kept = child(step_call, network, environment=KEEP_FREED_MEMORY)
        calls["eager, freed memory kept"] = stack.enter_context(kept)
    else:
        refused["eager, freed memory kept"] = "a setting of the CPU's allocator"

    def error(gradients: list[np.ndarray]) -> float:
        pairs = zip(gradients, truth, strict=True)
        return max(float(np.abs(g - t).max() / max(np.abs(t).max(), 1e-12)) for g, t in pairs)

    eager = calls["eager"](CHECK)
    assert eager is not None
    bound = 2 * error(eager) + 1e-5

    def check(_: str, gradients: list[np.ndarray]) -> Check:
        return Check(error(gradients), bound, "of a gradient's largest value")

    def gradients_of(call: Callable[[int], Any]) -> Callable[[int], Any]:
        return lambda _: call(CHECK)

    providers = {n: Provider(call, result=gradients_of(call)) for n, call in calls.items()}
    return Field(providers, check, refused)


@contest(
    case=f"adl-128, batch {BATCH}",
    shape=shapes.ADL_SMALL.words(BATCH),
    reference="eager",
    providers=PROVIDERS,
    device=lambda: device().type,
)
def test_adl_small(stack: ExitStack) -> Field:
    """The network of the Ped2 runs."""
    return open_training(shapes.ADL_SMALL, stack)


@contest(
    case=f"adl-256, batch {BATCH}",
    shape=shapes.ADL_FULL.words(BATCH),
    reference="eager",
    providers=PROVIDERS,
    device=lambda: device().type,
    long=True,
)
def test_adl_full(stack: ExitStack) -> Field:
    """The published network."""
    return open_training(shapes.ADL_FULL, stack)
