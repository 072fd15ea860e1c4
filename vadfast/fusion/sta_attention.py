"""The fused form of ``STAAttention``: the operator in linear time on the layer's own weights."""

from typing import Any, ClassVar

from torch import Tensor
from vadfast_kernels import ops

from vadfast.layers import STAAttention


class STAAttentionRecipe:
    """Training and inference are the same: of 40 numbers there is nothing worth keeping between calls."""

    operator: ClassVar[str] = "sta_attention"
    infer: ClassVar[str] = ""

    def refusal(self, layer: STAAttention) -> str | None:
        """Always None: the class is ours."""
        return None

    def arguments(self, layer: STAAttention) -> tuple[Any, ...]:
        """One element."""
        return (layer.query.weight.new_zeros(1, 1, 1),)

    def forward(self, layer: STAAttention, f: Tensor, *, backend: str, mode: str) -> Tensor:
        """[B, N, C] -> [B, N, C]."""
        return ops.sta_attention(f, *layer.weights(), recurrence=layer.recurrence, backend=backend)
