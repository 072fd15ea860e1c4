"""The fused form of ``VarianceAttention``: the operator on the layer's own weight."""

from typing import Any, ClassVar

from torch import Tensor
from vadfast_kernels import ops

from vadfast.layers import VarianceAttention


class VarianceAttentionRecipe:
    """Training and inference are the same: what the operator derives from the weight costs nothing beside reading x."""

    operator: ClassVar[str] = "variance_attention"
    infer: ClassVar[str] = ""

    def refusal(self, layer: VarianceAttention) -> str | None:
        """Always None: the class is ours."""
        return None

    def arguments(self, layer: VarianceAttention) -> tuple[Any, ...]:
        """X of one cell, and the cell."""
        weight = layer.embedding.weight
        return weight.new_zeros(1, weight.shape[1], layer.cell, layer.cell), layer.cell

    def forward(self, layer: VarianceAttention, x: Tensor, *, backend: str, mode: str) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        return ops.variance_attention(
            x, layer.embedding.weight.flatten(1), cell=layer.cell, variant=layer.variant,
            backend=backend,
        )  # fmt: skip
