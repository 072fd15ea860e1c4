"""Operators: every formulation of each at the shapes of the models, forward, and forward with backward."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from vadfast_kernels import ops

from bench import shapes
from bench.contest import Field, contest
from bench.cost import Cost
from bench.device import device
from bench.operators import Operator, open_operator, provider_call
from bench.peers import attention, criss_cross, sta
from bench.shapes import Shape
from vadfast.models import adl


def _criss_cross_inputs(shape: Shape, generator: torch.Generator) -> tuple[Tensor, ...]:
    s = shape.sizes
    space = (s["H"], s["W"])
    channels = (s["D"], s["D"], s["C"])
    return tuple(torch.randn(s["B"], c, *space, generator=generator) for c in channels)


def _sta_inputs(shape: Shape, generator: torch.Generator) -> tuple[Tensor, ...]:
    s = shape.sizes
    f = torch.rand(s["B"], s["N"], s["C"], generator=generator)  # ReLU features, not negative
    return f, *(torch.randn(s["D"], generator=generator) for _ in range(4))


def _variance_inputs(shape: Shape, generator: torch.Generator) -> tuple[Any, ...]:
    s = shape.sizes
    x = torch.randn(s["B"], s["C"], s["H"], s["W"], generator=generator)
    weight = torch.randn(s["C"], s["C"], generator=generator) / s["C"] ** 0.5
    return x, weight, s["cell"]


def _prototype_inputs(shape: Shape, generator: torch.Generator) -> tuple[Tensor, ...]:
    s = shape.sizes
    z = torch.randn(s["B"], s["N"], s["C"], generator=generator)
    return torch.nn.functional.normalize(z, dim=-1), torch.randn(
        s["M"], s["C"], generator=generator
    )


def _adl_loss_inputs(shape: Shape, generator: torch.Generator) -> tuple[Tensor, ...]:
    s = shape.sizes
    clip = torch.rand(s["B"], s["T"], 3, s["H"], s["W"], generator=generator) * 2 - 1
    predicted = torch.rand(s["B"], 3, s["H"], s["W"], generator=generator) * 2 - 1
    return predicted, clip


def adl_loss(predicted: Tensor, clip: Tensor) -> Tensor:
    """ACL + AGDL with the map of the clip, as training computes them: the clip is data, without a gradient."""
    clip = clip.detach()
    target, map_ = clip[:, -1], adl.attention_map(clip)
    return adl.content_loss(predicted, target, map_) + adl.gradient_loss(predicted, target, map_)


def fused_variance(x: Tensor, weight: Tensor, cell: int) -> Tensor:
    """STD's variance attention by the fused operator."""
    return ops.variance_attention(x, weight, cell=cell)


def fused_prototype(z: Tensor, weight: Tensor) -> Tensor:
    """APN's prototype unit by the fused operator, which also returns the two losses' terms."""
    return ops.prototype_attention(z, weight).y


def fused_adl_loss(predicted: Tensor, clip: Tensor) -> Tensor:
    """The same by the fused operator; the map is made as in eager."""
    clip = clip.detach()
    return ops.attention_loss(predicted, clip[:, -1], adl.attention_map(clip))


def _psnr_inputs(shape: Shape, generator: torch.Generator) -> tuple[Tensor, ...]:
    s = shape.sizes
    size = (s["B"], s["C"], s["H"], s["W"])
    truth = torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)
    return torch.rand(size, generator=generator) * 2 - 1, truth


def psnr(predicted: Tensor, truth: Tensor) -> Tensor:
    """Eager PSNR of predictions in [-1, 1] against uint8 frames, one value per frame, in dB."""
    error = predicted * 0.5 + 0.5 - truth.to(predicted.dtype) / 255
    return -10 * torch.log10(error.square().mean(dim=(1, 2, 3)).clamp_min(1e-10))


def _criss_cross_cost(s: Shape) -> Cost:
    pixels = s["B"] * s["H"] * s["W"]
    return Cost(
        2 * pixels * (s["H"] + s["W"] - 1) * (s["D"] + s["C"]) / 1e9,
        4 * pixels * (2 * s["D"] + 2 * s["C"]) / 1e6,
    )


def _variance_cost(s: Shape) -> Cost:
    elements = s["B"] * s["C"] * s["H"] * s["W"]
    pooled = elements // s["cell"] ** 2
    return Cost((2 * pooled * s["C"] + 2 * elements) / 1e9, 4 * 2 * elements / 1e6)


def _prototype_cost(s: Shape) -> Cost:
    elements = s["B"] * s["N"] * s["C"]
    return Cost(2 * 4 * elements * s["M"] / 1e9, 4 * 2 * elements / 1e6)


def _adl_loss_cost(s: Shape) -> Cost:
    frame = s["B"] * 3 * s["H"] * s["W"]
    return Cost(frame * (2 * s["T"] + 20) / 1e9, 4 * frame * (s["T"] + 1) / 1e6)


def _psnr_cost(s: Shape) -> Cost:
    elements = s["B"] * s["C"] * s["H"] * s["W"]
    return Cost(5 * elements / 1e9, 5 * elements / 1e6)


CRISS_CROSS = Operator(
    _criss_cross_inputs,
    {
        "naive": criss_cross.naive,
        "einsum": criss_cross.einsum,
        "log-sum-exp": criss_cross.log_sum_exp,
        "flex": criss_cross.flex,
        "vadfast": ops.criss_cross_attention,
    },
    _criss_cross_cost,
)
STA = Operator(_sta_inputs, {"exact": sta.exact, "vadfast": ops.sta_attention}, None)
VARIANCE = Operator(
    _variance_inputs, {"eager": attention.variance, "vadfast": fused_variance}, _variance_cost
)
PROTOTYPE = Operator(
    _prototype_inputs,
    {
        "broadcast": attention.prototype_broadcast,
        "bmm": attention.prototype_bmm,
        "vadfast": fused_prototype,
    },
    _prototype_cost,
)
ADL_LOSS = Operator(
    _adl_loss_inputs, {"eager": adl_loss, "vadfast": fused_adl_loss}, _adl_loss_cost
)
PSNR = Operator(_psnr_inputs, {"eager": psnr}, _psnr_cost)


@dataclass(frozen=True, slots=True)
class Measured:
    """What is measured of an operator."""

    operator: Operator
    shapes: Sequence[Shape]
    backward: bool = True


CASES = {
    "criss-cross attention": Measured(CRISS_CROSS, shapes.CRISS_CROSS),
    "sta attention": Measured(STA, shapes.STA),
    "variance attention": Measured(VARIANCE, shapes.VARIANCE),
    "prototype attention": Measured(PROTOTYPE, shapes.PROTOTYPE),
    "attention loss": Measured(ADL_LOSS, shapes.ADL_LOSS),
    "psnr": Measured(PSNR, shapes.PSNR, backward=False),
}


def call_of(name: str, provider: str, shape: Shape, backward: bool) -> Callable[[int], None]:
    """One provider's call, for the process in which its memory is measured."""
    return provider_call(CASES[name].operator, provider, shape, backward)


def _case(name: str, shape: Shape, *, backward: bool, long: bool) -> Callable[..., None]:
    operator = CASES[name].operator
    direction = "forward and backward" if backward else "forward"

    def open_(_: ExitStack) -> Field:
        factory = partial(call_of, name)
        return open_operator(operator, shape, backward=backward, factory=factory)

    return contest(
        case=f"{name}, {shape.name}, {direction}",
        shape=shape.words,
        reference=operator.names[0],
        providers=operator.names,
        cost=None if backward or operator.cost is None else operator.cost(shape),
        device=lambda: device().type,
        long=long,
    )(open_)


for _name, _measured in CASES.items():
    for _shape in _measured.shapes:
        for _backward in (False, True) if _measured.backward else (False,):
            _words = f"test {_name} {_shape.name} {'both' if _backward else 'forward'}"
            globals()[_words.replace(" ", "_").replace("-", "_")] = _case(
                _name, _shape, backward=_backward, long=_shape != _measured.shapes[0]
            )
