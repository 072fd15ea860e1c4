"""STA's spatio-temporal attention as a layer: 4 D numbers, and the formula applied some times over with the same weights.

Plain PyTorch: the attention is the reference that defines the operator. ``vadfast.fuse`` swaps the fast one in.
"""

from torch import Tensor, nn
from vadfast_kernels.sta_attention.reference import sta_attention


class STAAttention(nn.Module):
    r"""``f <- (mean of f over each element's row and column, by exp of a cosine) + f``, ``recurrence`` times.

        q = w_q f + b_q,  k = w_k f + b_k  of every element;  weights = softmax over the cross of cos(q, k)

    Source: Liu et al., "Learning task-specific representation for video anomaly detection with spatial-temporal attention",
    ICASSP 2022, eq. 1 to 3; the operator's ``op.py`` says how they are read. Without the biases every cosine would be 1 or -1.

    Args:
        channels: D of queries and keys; 10 as published.
        recurrence: passes; two carry information from any element to any other.

    Shape: [B, N, C] (bags, segments, features) -> the same. 40 parameters at D = 10.
    """

    def __init__(self, channels: int = 10, *, recurrence: int = 2) -> None:
        super().__init__()
        if channels < 1 or recurrence < 1:
            raise ValueError(
                f"STAAttention: channels and recurrence must be at least 1, got {channels} and {recurrence}"
            )
        self.query, self.key = nn.Linear(1, channels), nn.Linear(1, channels)
        self.recurrence = recurrence

    def forward(self, f: Tensor) -> Tensor:
        """[B, N, C] -> [B, N, C]."""
        return sta_attention(f, *self.weights(), recurrence=self.recurrence)

    def weights(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Returns w_q, b_q, w_k and b_k, [D] each, as the operator takes them."""
        query, key = self.query, self.key
        return query.weight.flatten(), query.bias, key.weight.flatten(), key.bias

    def extra_repr(self) -> str:
        """Shown by ``print(model)``."""
        return f"recurrence={self.recurrence}"
