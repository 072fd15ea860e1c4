"""The fused form of criss-cross layers: ours, and other people's by a table of what they call their parts.

Weights of a softmax sum to 1, so values may be projected after they were averaged: A (W_v x + b_v) = W_v (A x) + b_v. The attention
then reads x itself, and W_v x never exists.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F
from vadfast_kernels import ops

from vadfast.fusion.folded import Parts, fold, kept


@dataclass(frozen=True, slots=True)
class CrissCrossRecipe:
    """Criss-cross attention over parts of these names; ``recurrence`` None: one pass, the layer's model repeats it."""

    operator: ClassVar[str] = "criss_cross_attention"
    infer: ClassVar[str] = "weights folded once"

    query: str
    key: str
    value: str
    gamma: str
    recurrence: str | None = None
    affinity: str | None = None

    def refusal(self, layer: nn.Module) -> str | None:
        """Returns which part is not of the published form, or None."""
        convolutions = {n: getattr(layer, n, None) for n in (self.query, self.key, self.value)}
        for name, convolution in convolutions.items():
            reason = _not_pointwise(convolution)
            if reason:
                return f"{name} must be {reason}"
        query, key, value = convolutions.values()
        assert query is not None
        assert key is not None
        assert value is not None
        if query.weight.shape != key.weight.shape or (query.bias is None) != (key.bias is None):
            return f"{self.key} must be like {self.query}, {query}, got {key}"
        c = query.in_channels
        if (value.in_channels, value.out_channels) != (c, c):
            return f"{self.value} must keep the {c} channels, got {value}"
        gamma = self._gamma(layer)
        if not isinstance(gamma, Tensor) or gamma.numel() != 1:
            return f"{self.gamma} must be one number"
        return None

    def arguments(self, layer: nn.Module) -> tuple[Any, ...]:
        """q, k and v of one position."""
        weight: Tensor = getattr(layer, self.query).weight  # [D, C, 1, 1]
        d, c = weight.shape[:2]
        return tuple(weight.new_zeros(1, channels, 1, 1) for channels in (d, d, c))

    def forward(self, layer: nn.Module, x: Tensor, *, backend: str, mode: str) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W], channels last in memory."""
        parts = self.parts(layer)
        w = kept(layer, parts, x) if mode == "infer" else fold(parts)
        affinity = self.affinity_of(layer)
        for _ in range(self.passes(layer)):
            q, k = F.conv2d(x, w.qk_weight, w.qk_bias).chunk(2, dim=1)
            v = x.to(q.dtype)
            mean = ops.criss_cross_attention(q, k, v, affinity=affinity, backend=backend)
            x = F.conv2d(mean, w.value_weight, w.value_bias) + x
        return x

    def parts(self, layer: nn.Module) -> Parts:
        """Returns the parameters of a layer that is not refused."""
        query, key, value = (getattr(layer, name) for name in (self.query, self.key, self.value))
        return Parts(query, key, value, self._gamma(layer))

    def passes(self, layer: nn.Module) -> int:
        """Returns how often the layer attends, with the same weights."""
        return int(getattr(layer, self.recurrence)) if self.recurrence else 1

    def affinity_of(self, layer: nn.Module) -> str:
        """Returns what scores are made of, "dot" or "cosine"."""
        return str(getattr(layer, self.affinity)) if self.affinity else "dot"

    def _gamma(self, layer: nn.Module) -> Any:
        gamma = getattr(layer, self.gamma, None)
        return getattr(gamma, "scale", None) if isinstance(gamma, nn.Module) else gamma


def _not_pointwise(convolution: Any) -> str | None:
    if not isinstance(convolution, nn.Conv2d):
        return f"a Conv2d, got {type(convolution).__name__}"
    if (
        convolution.kernel_size != (1, 1)
        or convolution.stride != (1, 1)
        or convolution.groups != 1
        or convolution.padding not in ((0, 0), "same", "valid")
    ):
        return f"a 1x1 convolution of stride 1 without groups or padding, got {convolution}"
    if convolution._forward_hooks or convolution._forward_pre_hooks:
        return "without hooks, which a fused layer would not call"
    return None


OURS = CrissCrossRecipe("query", "key", "value", "gamma", "recurrence", "affinity")

# Class name -> recipe. A class that is not here is not touched: equal attributes do not make an equal formula.
PUBLISHED: dict[str, CrissCrossRecipe] = {
    # CCNet (speedinghzl/CCNet, cc_attention/functions.py), which its RCCAModule repeats; and mmcv (mmcv/ops/cc_attention.py), with a
    # Scale as gamma, which mmsegmentation's CCHead repeats.
    "CrissCrossAttention": CrissCrossRecipe("query_conv", "key_conv", "value_conv", "gamma"),
}
