"""What the tests on a GPU run: each operator at the shapes of its models, and at small ones that end in the middle of every tile."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from vadfast_kernels import ops
from vadfast_kernels._op import INTERPRETED
from vadfast_kernels.attention_loss.reference import attention_loss
from vadfast_kernels.attention_map.reference import attention_map
from vadfast_kernels.cluster_distance.reference import cluster_distance
from vadfast_kernels.criss_cross_attention.reference import criss_cross_attention
from vadfast_kernels.mutual_cosine_embedding.reference import mutual_cosine_embedding
from vadfast_kernels.patch_max_loss.reference import patch_max_loss
from vadfast_kernels.prototype_attention.reference import prototype_attention
from vadfast_kernels.sta_attention.reference import sta_attention
from vadfast_kernels.variance_attention.reference import variance_attention

from bench import shapes
from bench.device import is_tiny, shrunk
from bench.shapes import Shape
from tests.ops.inputs import (
    DTYPES,
    attention_loss_inputs,
    attention_map_inputs,
    bag_inputs,
    cluster_inputs,
    criss_cross_inputs,
    frame_inputs,
    near_prototype_inputs,
    sta_inputs,
    variance_inputs,
)

_EAGER = {
    "attention_loss": attention_loss,
    "attention_map": attention_map,
    "cluster_distance": cluster_distance,
    "criss_cross_attention": criss_cross_attention,
    "mutual_cosine_embedding": mutual_cosine_embedding,
    "patch_max_loss": patch_max_loss,
    "prototype_attention": prototype_attention,
    "sta_attention": sta_attention,
    "variance_attention": variance_attention,
}


def _embedding_loss(normal: Tensor, abnormal: Tensor, **options: Any) -> Tensor:
    return ops.mutual_cosine_embedding(normal, abnormal, **options).loss


# Where the operator of that name returns more than its reference.
_FUSED = {"mutual_cosine_embedding": _embedding_loss}


def _criss_cross_inputs(shape: tuple[int, ...], dtype: torch.dtype) -> list[Tensor]:
    """As they come on a GPU. The interpreter's products, NumPy's, differ in the last bit when their sides are exchanged, as forward
    and backward do; scores of size 1 keep that below the rule's floor.
    """
    q, k, v = criss_cross_inputs(shape)
    scale = shape[1] ** 0.25 if INTERPRETED else 1.0
    return [x.to(dtype) for x in (q / scale, k / scale, v)]


def _prototype_inputs(shape: tuple[int, ...], dtype: torch.dtype) -> list[Tensor]:
    """z and weight for (B, N, C, M), every position near one prototype: of 65,536 anywhere some would be as near to a second."""
    return near_prototype_inputs(shape, dtype, noise=0.3, sharpness=8)


_INPUTS: dict[str, Callable[[tuple[int, ...], torch.dtype], list[Tensor]]] = {
    "attention_loss": attention_loss_inputs,
    "attention_map": attention_map_inputs,
    "cluster_distance": cluster_inputs,
    "criss_cross_attention": _criss_cross_inputs,
    "mutual_cosine_embedding": bag_inputs,
    "patch_max_loss": frame_inputs,
    "prototype_attention": _prototype_inputs,
    "sta_attention": sta_inputs,
    "variance_attention": variance_inputs,
}


@dataclass(frozen=True, slots=True)
class Case:
    """One operator at one shape; ``shape`` is what makes its inputs (tests/ops/inputs.py)."""

    operator: str
    shape: tuple[int, ...]
    options: dict[str, Any] = field(default_factory=dict)
    dtypes: tuple[torch.dtype, ...] = DTYPES
    n_trained: int | None = None  # how many of the inputs have a gradient; None: all
    eager_gb: float = 8.0  # what the float64 reference takes with its gradient, at most

    @property
    def fused(self) -> Callable[..., Any]:
        return _FUSED.get(self.operator) or getattr(ops, self.operator)

    @property
    def eager(self) -> Callable[..., Any]:
        return _EAGER[self.operator]

    def inputs(self, dtype: torch.dtype, device: torch.device) -> list[Tensor]:
        return [x.to(device) for x in _INPUTS[self.operator](self.shape, dtype)]

    def __str__(self) -> str:
        return f"{self.operator} {'x'.join(map(str, self.shape))}"


def _criss_cross(shape: Shape) -> Case:
    s = shrunk(shape)
    return Case("criss_cross_attention", (s["B"], s["D"], s["C"], s["H"], s["W"]))


def _sta(shape: Shape) -> Case:
    s = shrunk(shape)
    # Five tensors of every score with every partner; one recurrence, because the second is the first again.
    gigabytes = 5 * 8e-9 * s["B"] * s["N"] * s["C"] * (s["N"] + s["C"])
    return Case(
        "sta_attention", (s["B"], s["N"], s["C"]), {"recurrence": 1}, (torch.float32,),
        eager_gb=gigabytes,
    )  # fmt: skip


def _variance(shape: Shape) -> Case:
    s = shrunk(shape)
    sizes = (s["B"], s["C"], s["C"], s["H"], s["W"], s["cell"])
    return Case("variance_attention", sizes, {"cell": s["cell"]})


def _prototype(shape: Shape) -> Case:
    s = shrunk(shape)
    return Case("prototype_attention", (s["B"], s["N"], s["C"], s["M"]))


def _attention_loss(shape: Shape) -> Case:
    s = shrunk(shape)
    return Case("attention_loss", (s["B"], 3, s["H"], s["W"], 1), {"edge": "tf"}, n_trained=1)


def _attention_map(shape: Shape) -> Case:
    s = shrunk(shape)
    return Case("attention_map", (s["B"], 5, 3, s["H"], s["W"]), n_trained=0)


def _cluster(shape: Shape) -> Case:
    s = shrunk(shape)
    # Four tensors of every difference of a position and a centre.
    gigabytes = 4 * 8e-9 * s["B"] * s["N"] * s["C"] * s["K"]
    return Case("cluster_distance", (s["B"], s["N"], s["C"], s["K"]), eager_gb=gigabytes)


def _patch_max(shape: Shape) -> Case:
    s = shrunk(shape)
    grid = {"rows": s["rows"], "columns": s["columns"]}
    return Case("patch_max_loss", (s["B"], s["C"], s["H"], s["W"]), grid, n_trained=1)


def _embedding(shape: Shape) -> Case:
    s = shrunk(shape)
    return Case("mutual_cosine_embedding", (s["B"], s["N"], s["C"]))


_STA = (
    *shapes.STA,
    Shape("wide", {"B": 1, "N": 32, "C": 4096, "D": 10}, "twice I3D-ResNet50: STA's largest"),
)
_ALL = (
    *map(_criss_cross, shapes.CRISS_CROSS),
    *map(_sta, _STA),
    *map(_variance, shapes.VARIANCE),
    *map(_prototype, shapes.PROTOTYPE),
    *map(_attention_loss, shapes.ADL_LOSS),
    *map(_attention_map, shapes.ADL_LOSS),
    *map(_cluster, shapes.CLUSTER),
    *map(_patch_max, shapes.PATCH_MAX),
    *map(_embedding, shapes.EMBEDDING),
)
# In little all shapes of an operator are nearly the same.
REAL = tuple({case.operator: case for case in _ALL}.values()) if is_tiny() else _ALL
SMALL = (
    Case("criss_cross_attention", (2, 5, 7, 11, 13)),
    Case("criss_cross_attention", (1, 20, 150, 5, 3)),
    Case("sta_attention", (2, 5, 13), {"recurrence": 1}, (torch.float32,)),
    Case("variance_attention", (2, 5, 7, 3, 9, 3), {"cell": 3}),
    Case("variance_attention", (1, 20, 20, 1, 130, 1), {"cell": 1, "variant": "paper"}),
    Case("prototype_attention", (2, 33, 20, 6)),
    Case("prototype_attention", (1, 18, 17, 17)),
    Case("attention_loss", (1, 2, 9, 130, 1), {"edge": "drop"}, n_trained=1),
    Case("attention_loss", (2, 1, 5, 7, 1), {"edge": "tf"}, n_trained=1),
    Case("attention_map", (2, 3, 1, 9, 130), n_trained=0),
    Case("cluster_distance", (2, 7, 5, 3)),
    Case("cluster_distance", (1, 13, 70, 33)),
    Case("patch_max_loss", (3, 2, 14, 33), {"rows": 2, "columns": 3}, n_trained=1),
    Case("patch_max_loss", (2, 1, 8, 20), {"rows": 4, "columns": 20}, n_trained=1),
    Case("mutual_cosine_embedding", (2, 7, 5)),
    Case("mutual_cosine_embedding", (3, 11, 70), {"pairs": "hinge", "centred": True}),
)
