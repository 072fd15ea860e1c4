"""The fused form of ``PrototypeUnit``: the operator on the layer's own weight."""

from typing import Any, ClassVar

from torch import Tensor
from vadfast_kernels import ops

from vadfast.layers import Prototypes, PrototypeUnit
from vadfast.layers.prototype_unit import as_image, positions


class PrototypeUnitRecipe:
    """Training and inference are the same: the score needs the compactness that the loss needs, and both come from one pass."""

    operator: ClassVar[str] = "prototype_attention"
    infer: ClassVar[str] = ""

    def refusal(self, layer: PrototypeUnit) -> str | None:
        """Always None: the class is ours."""
        return None

    def arguments(self, layer: PrototypeUnit) -> tuple[Any, ...]:
        """Z of one position, and the weight."""
        weight = layer.score.weight
        return weight.new_zeros(1, 1, weight.shape[1]), weight

    def forward(self, layer: PrototypeUnit, z: Tensor, *, backend: str, mode: str) -> Prototypes:
        """[B, C, H, W] -> y of the same shape, and what belongs to it."""
        found = ops.prototype_attention(positions(z), layer.score.weight, backend=backend)
        return as_image(z, *found)
