"""The fused form of ``STAAttention``: the operator in linear time on the layer's own weights."""

from typing import Any, ClassVar

from torch import Tensor
from vadfast_kernels import ops
from vadfast_kernels._dtypes import autocast_dtype

from vadfast.layers import STAAttention


class STAAttentionRecipe:
    """Training and inference are the same: of 40 numbers there is nothing worth keeping between calls."""

    operator: ClassVar[str] = "sta_attention"
    infer: ClassVar[str] = ""

    def refusal(self, layer: STAAttention) -> str | None:
        """Always None: the class is ours."""
        return None

    def arguments(self, layer: STAAttention) -> tuple[Any, ...]:
        """The operator's own sample: nothing of the layer decides but where it is."""
        weight = layer.query.weight
        return ops.sample(self.operator, weight.device, weight.dtype)

    def forward(self, layer: STAAttention, f: Tensor, *, backend: str, mode: str) -> Tensor:
        """[B, N, C] -> [B, N, C]; under autocast in the dtype of the weights, because angles lose what half precision cannot hold."""
        if autocast_dtype(f):
            f = f.to(layer.query.weight.dtype)
        return ops.sta_attention(f, *layer.weights(), recurrence=layer.recurrence, backend=backend)
