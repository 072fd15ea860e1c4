"""Training steps of ADL: eager, with freed memory kept, channels last and compiled; the content and gradient losses, batch 4.

A provider is right if a step from the same weights on the same clips changes every weight as the float64 step does.
"""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from bench import shapes
from bench.child import KEEP_FREED_MEMORY, child
from bench.contest import Check, Field, Provider, contest
from bench.device import compiled, device, is_tiny, wait_for_device
from vadfast.models import adl

BATCH = 4
PROVIDERS = ("eager", "eager, freed memory kept", "eager, channels last", "compiled")


def step_call(
    network: shapes.Network, *, form: str = "eager", dtype: torch.dtype = torch.float32
) -> Callable[[int], list[float]]:
    """A call makes the gradients of one batch; it returns the norm of each parameter's gradient."""
    side, width = (32, 4) if is_tiny() else (network.image_size, network.width)
    torch.manual_seed(0)
    generator = adl.Generator(adl.ADLConfig(image_size=side, width=width)).to(device(), dtype)
    frames = torch.randint(0, 256, (BATCH, adl.N_FRAMES, side, side, 3), dtype=torch.uint8)
    clip = adl.normalise(frames).to(device(), dtype)
    if form == "eager, channels last":
        generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def losses(clip: Tensor) -> Tensor:
        target, map_ = clip[:, -1], adl.attention_map(clip)
        predicted = adl.predict(generator, clip)
        content = adl.content_loss(predicted, target, map_)
        return content + adl.gradient_loss(predicted, target, map_)

    function: Callable[[Tensor], Tensor] = compiled(losses) if form == "compiled" else losses

    def call(_: int) -> list[float]:
        generator.zero_grad(set_to_none=True)
        function(clip).backward()
        wait_for_device()
        return [0.0 if p.grad is None else float(p.grad.norm()) for p in generator.parameters()]

    return call


def open_training(network: shapes.Network, stack: ExitStack) -> Field:
    """Opens all forms of the step."""
    truth = step_call(network, dtype=torch.float64)(0)
    kept = child(step_call, network, environment=KEEP_FREED_MEMORY)
    providers = {
        form: Provider(step_call(network, form=form)) for form in PROVIDERS if "kept" not in form
    }
    refused = {}
    if device().type == "cpu":
        providers["eager, freed memory kept"] = Provider(stack.enter_context(kept))
    else:
        refused["eager, freed memory kept"] = "a setting of the CPU's allocator"

    def error(norms: list[float]) -> float:
        return max(abs(n - t) / max(t, 1e-12) for n, t in zip(norms, truth, strict=True))

    bound = 2 * error(providers["eager"].call(0)) + 1e-5

    def check(_: str, norms: Any) -> Check:
        return Check(error(norms), bound, "of a gradient's norm")

    return Field(providers, check, refused)


@contest(
    case=f"adl-128, batch {BATCH}",
    shape=shapes.ADL_SMALL.words,
    reference="eager",
    providers=PROVIDERS,
)
def test_adl_small(stack: ExitStack) -> Field:
    """The network of the Ped2 runs."""
    return open_training(shapes.ADL_SMALL, stack)


@contest(
    case=f"adl-256, batch {BATCH}",
    shape=shapes.ADL_FULL.words,
    reference="eager",
    providers=PROVIDERS,
)
def test_adl_full(stack: ExitStack) -> Field:
    """The published network."""
    return open_training(shapes.ADL_FULL, stack)
