"""STD's variance attention as a layer: its weight and the formula.

Plain PyTorch: the attention is the reference that defines the operator. ``vadfast.fuse`` swaps the fast one in.
"""

from typing import Literal

from torch import Tensor, nn
from vadfast_kernels.variance_attention.reference import variance_attention


class VarianceAttention(nn.Module):
    r"""``x <- g x``, g a gain for every cell of positions, by how much the channels of an embedding differ there.

        f = W x averaged over each cell,  v = sum_d (f_d - mean f)^2,  a = softmax of v over the cells
        variant="code"   g = exp(a)
        variant="paper"  g = a / |a|_2, and v is the mean over d

    Source: Chang et al., "Video anomaly detection with spatio-temporal dissociation", Pattern Recognition 2022, section 3.4;
    the operator's ``op.py`` says where paper and code part. The paper does not pool: its form is ``cell=1``.

    Args:
        channels: C of the features, and of their embedding.
        cell: side of a cell; H and W are multiples of it.
        variant: ``"code"``, the released network's, or ``"paper"``.

    Shape: [B, C, H, W] -> the same. C^2 parameters, no bias.
    """

    def __init__(
        self, channels: int, *, cell: int, variant: Literal["code", "paper"] = "code"
    ) -> None:
        super().__init__()
        if cell < 1:
            raise ValueError(f"VarianceAttention: cell must be at least 1, got {cell}")
        if variant not in ("code", "paper"):
            raise ValueError(f"VarianceAttention: variant must be code or paper, got {variant!r}")
        self.embedding = nn.Conv2d(channels, channels, 1, bias=False)
        self.cell, self.variant = cell, variant

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        weight = self.embedding.weight.flatten(1)  # [C, C]
        return variance_attention(x, weight, cell=self.cell, variant=self.variant)

    def extra_repr(self) -> str:
        """Shown by ``print(model)``."""
        return f"cell={self.cell}, variant={self.variant!r}"
