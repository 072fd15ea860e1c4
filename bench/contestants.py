"""Who computes each operator: the inputs, every formulation (the eager one first), the least cost, and the shapes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize
from vadfast_kernels import ops
from vadfast_kernels.attention_loss import reference as attention_loss
from vadfast_kernels.attention_map import reference as attention_map

from bench import shapes
from bench.contest import Target
from bench.cost import Cost
from bench.operators import DTYPE_NAMES, Operator
from bench.peers import attention, criss_cross, losses, sta
from bench.shapes import Shape


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
    return normalize(z, dim=-1), torch.randn(s["M"], s["C"], generator=generator)


def _adl_map_inputs(shape: Shape, generator: torch.Generator) -> tuple[Tensor, ...]:
    s = shape.sizes
    return (torch.rand(s["B"], 5, 3, s["H"], s["W"], generator=generator) * 2 - 1,)


def _adl_loss_inputs(shape: Shape, generator: torch.Generator) -> tuple[Tensor, ...]:
    s = shape.sizes
    frame = (s["B"], 3, s["H"], s["W"])
    predicted, target = (torch.rand(frame, generator=generator) * 2 - 1 for _ in range(2))
    return predicted, target, torch.rand(frame, generator=generator)


def adl_loss(predicted: Tensor, target: Tensor, attention: Tensor) -> Tensor:
    """ACL + AGDL in eager operations; target and map are data, without a gradient."""
    return attention_loss.attention_loss(predicted, target.detach(), attention.detach())[0]


def fused_variance(x: Tensor, weight: Tensor, cell: int, backend: str = "auto") -> Tensor:
    """STD's variance attention by the fused operator."""
    return ops.variance_attention(x, weight, cell=cell, backend=backend)


def fused_prototype(z: Tensor, weight: Tensor, backend: str = "auto") -> Tensor:
    """APN's prototype unit by the fused operator, which also returns the two losses' terms."""
    return ops.prototype_attention(z, weight, backend=backend).y


def fused_adl_loss(
    predicted: Tensor, target: Tensor, attention: Tensor, backend: str = "auto"
) -> Tensor:
    """The same by the fused operator."""
    target, attention = target.detach(), attention.detach()
    return ops.attention_loss(predicted, target, attention, backend=backend).loss


def _cluster_inputs(shape: Shape, generator: torch.Generator) -> tuple[Tensor, ...]:
    s = shape.sizes
    codes = torch.randn(s["B"], s["C"], s["N"], generator=generator)  # a map: channels first
    centres = torch.randn(s["K"], s["C"], generator=generator)
    # Codes have length 1, and centres are means of them.
    return normalize(codes, dim=1).mT, 0.9 * normalize(centres, dim=1)


def _patch_max_inputs(shape: Shape, generator: torch.Generator) -> tuple[Any, ...]:
    s = shape.sizes
    size = (s["B"], s["C"], s["H"], s["W"])
    predicted, target = (torch.rand(size, generator=generator) for _ in range(2))
    return predicted, target, s["rows"], s["columns"]


def pooled_patch_max(predicted: Tensor, target: Tensor, rows: int, columns: int) -> Tensor:
    """MTL's loss of the worst patch in eager operations; the target is data, without a gradient."""
    return losses.patch_max_pool(predicted, target.detach(), rows, columns)


def fused_patch_max(
    predicted: Tensor, target: Tensor, rows: int, columns: int, backend: str = "auto"
) -> Tensor:
    """The same by the fused operator."""
    target = target.detach()
    return ops.patch_max_loss(predicted, target, rows=rows, columns=columns, backend=backend)


def _embedding_inputs(shape: Shape, generator: torch.Generator) -> tuple[Tensor, ...]:
    s = shape.sizes
    size = (s["B"], s["N"], s["C"])
    normal, abnormal = (torch.rand(size, generator=generator) for _ in range(2))
    return normal, abnormal


def fused_embedding(normal: Tensor, abnormal: Tensor, backend: str = "auto") -> Tensor:
    """STA's mutual cosine embedding by the fused operator."""
    return ops.mutual_cosine_embedding(normal, abnormal, backend=backend).loss


def _psnr_inputs(shape: Shape, generator: torch.Generator) -> tuple[Tensor, ...]:
    s = shape.sizes
    size = (s["B"], s["C"], s["H"], s["W"])
    truth = torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)
    return torch.rand(size, generator=generator) * 2 - 1, truth


def psnr(predicted: Tensor, truth: Tensor) -> Tensor:
    """Eager PSNR of predictions in [-1, 1] against uint8 frames, one value per frame, in dB."""
    error = predicted * 0.5 + 0.5 - truth.to(predicted.dtype) / 255
    return -10 * torch.log10(error.square().mean(dim=(1, 2, 3)).clamp_min(1e-10))


def fused_psnr(predicted: Tensor, truth: Tensor, backend: str = "auto") -> Tensor:
    """The same by the fused operator."""
    return ops.frame_score(predicted, truth, predicted_range=(-1.0, 1.0), backend=backend).psnr_db


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


def _adl_map_cost(s: Shape) -> Cost:
    frame = s["B"] * 3 * s["H"] * s["W"]
    return Cost(frame * 13 / 1e9, 4 * frame * 6 / 1e6)


def _adl_loss_cost(s: Shape) -> Cost:
    frame = s["B"] * 3 * s["H"] * s["W"]
    return Cost(frame * 20 / 1e9, 4 * frame * 3 / 1e6)


def _cluster_cost(s: Shape) -> Cost:
    codes = s["B"] * s["N"] * s["C"]
    return Cost(2 * codes * s["K"] / 1e9, 4 * (codes + s["K"] * s["C"]) / 1e6)


def _patch_max_cost(s: Shape) -> Cost:
    elements = s["B"] * s["C"] * s["H"] * s["W"]
    return Cost(3 * elements / 1e9, 4 * 2 * elements / 1e6)


def _embedding_cost(s: Shape) -> Cost:
    features = 2 * s["B"] * s["N"] * s["C"]
    return Cost(features * s["N"] / 1e9, 4 * features / 1e6)


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
ADL_MAP = Operator(
    _adl_map_inputs,
    {"eager": attention_map.attention_map, "vadfast": ops.attention_map},
    _adl_map_cost,
)
ADL_LOSS = Operator(
    _adl_loss_inputs, {"eager": adl_loss, "vadfast": fused_adl_loss}, _adl_loss_cost
)
PSNR = Operator(_psnr_inputs, {"eager": psnr, "vadfast": fused_psnr}, _psnr_cost)

CLUSTER = Operator(
    _cluster_inputs,
    {
        "broadcast": losses.cluster_broadcast,
        "cdist": losses.cluster_cdist,
        "vadfast": ops.cluster_distance,
    },
    _cluster_cost,
)
PATCH_MAX = Operator(
    _patch_max_inputs,
    {"pooling": pooled_patch_max, "vadfast": fused_patch_max},
    _patch_max_cost,
)
EMBEDDING = Operator(
    _embedding_inputs,
    {
        "pairs": losses.embedding_pairs,
        "normalised": losses.embedding_normalised,
        "vadfast": fused_embedding,
    },
    _embedding_cost,
)


@dataclass(frozen=True, slots=True)
class Measured:
    """What is measured of an operator."""

    operator: Operator
    shapes: Sequence[Shape]
    backward: bool = True
    in_half: bool = True
    # What the forward pass of "vadfast" must reach against the eager form, by the shape's name.
    at_least: Mapping[str, float] = field(default_factory=dict)

    def targets(self, shape: Shape, *, backward: bool) -> dict[str, Target]:
        """Nowhere slower than eager, beyond the noise."""
        if "vadfast" not in self.operator.providers:
            return {}
        at_least = 0.0 if backward else self.at_least.get(shape.name, 0.0)
        return {"vadfast": Target(at_least, (self.operator.names[0],))}


CASES = {
    "criss-cross attention": Measured(
        CRISS_CROSS, shapes.CRISS_CROSS, at_least={"apn level 1": 3.2, "apn 128 px level 2": 2.5}
    ),
    "sta attention": Measured(STA, shapes.STA, in_half=False, at_least={"i3d resnet50": 20.0}),
    "variance attention": Measured(VARIANCE, shapes.VARIANCE),
    "prototype attention": Measured(PROTOTYPE, shapes.PROTOTYPE),
    "attention map": Measured(ADL_MAP, shapes.ADL_LOSS, backward=False, in_half=False),
    "attention loss": Measured(ADL_LOSS, shapes.ADL_LOSS),
    "cluster distance": Measured(CLUSTER, shapes.CLUSTER),
    "patch max loss": Measured(PATCH_MAX, shapes.PATCH_MAX),
    "mutual cosine embedding": Measured(EMBEDDING, shapes.EMBEDDING),
    "psnr": Measured(PSNR, shapes.PSNR, backward=False, in_half=False, at_least={"64 frames": 4.0}),
}


@dataclass(frozen=True, slots=True)
class Case:
    """One operator at one shape, in one dtype and one direction."""

    name: str  # a key of CASES
    shape: Shape
    dtype: torch.dtype
    backward: bool

    @property
    def measured(self) -> Measured:
        """What is measured of the operator."""
        return CASES[self.name]

    @property
    def direction(self) -> str:
        """In the words of the rows."""
        return "forward and backward" if self.backward else "forward"

    @property
    def precision(self) -> str:
        """In the words of the rows."""
        return DTYPE_NAMES[self.dtype]


def all_cases(*halves: torch.dtype) -> Iterator[Case]:
    """Yields every operator at every shape in float32, and in ``halves`` where models run in them."""
    for name, measured in CASES.items():
        dtypes = (torch.float32, *(halves if measured.in_half else ()))
        directions = (False, True) if measured.backward else (False,)
        for shape, dtype, backward in product(measured.shapes, dtypes, directions):
            yield Case(name, shape, dtype, backward)
