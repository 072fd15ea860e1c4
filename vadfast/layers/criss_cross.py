"""Criss-cross attention as a layer: projections, attention, gain and residual, some times over with the same weights.

Plain PyTorch: the attention is the reference that defines the operator. ``vadfast.fuse`` swaps the fast one in.
"""

from torch import Tensor, nn, zeros
from torch.nn import functional as F
from vadfast_kernels.criss_cross_attention.reference import criss_cross_attention


class CrissCross(nn.Module):
    r"""``x <- gamma (A(W_q x, W_k x) W_v x) + x``, ``recurrence`` times, A of ``vadfast_kernels.criss_cross_attention``.

    Source: Huang et al., "CCNet", ICCV 2019; APN uses it at each level with C / 8 query channels and two passes.

    Args:
        channels: C of the features.
        query_channels: D of queries and keys; C // 8 as in CCNet, at least 1.
        recurrence: passes; two carry information from any position to any other.
        affinity: ``"dot"``, or ``"cosine"`` for queries and keys of length 1.

    Shape: [B, C, H, W] -> the same. gamma begins at 0, so the layer begins as the identity.
    """

    def __init__(
        self,
        channels: int,
        *,
        query_channels: int | None = None,
        recurrence: int = 2,
        affinity: str = "dot",
    ) -> None:
        super().__init__()
        if recurrence < 1:
            raise ValueError(f"CrissCross: recurrence must be at least 1, got {recurrence}")
        if affinity not in ("dot", "cosine"):
            raise ValueError(f"CrissCross: affinity must be dot or cosine, got {affinity!r}")
        d = query_channels or max(channels // 8, 1)
        self.query, self.key = nn.Conv2d(channels, d, 1), nn.Conv2d(channels, d, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(zeros(1))
        self.recurrence, self.affinity = recurrence, affinity

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        for _ in range(self.recurrence):
            q, k = self.query(x), self.key(x)  # [B, D, H, W]
            if self.affinity == "cosine":
                q, k = F.normalize(q, dim=1, eps=1e-6), F.normalize(k, dim=1, eps=1e-6)
            x = self.gamma * criss_cross_attention(q, k, self.value(x)) + x
        return x

    def extra_repr(self) -> str:
        """Shown by ``print(model)``."""
        return f"recurrence={self.recurrence}, affinity={self.affinity!r}"
