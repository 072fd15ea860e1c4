"""STA's attention (Liu et al., ICASSP 2022): criss-cross over a feature matrix, cosine affinity, scalar values, R = 2 passes.

f [B, N, C]; q = wq f + bq and k = wk f + bk with D = 10 channels; the value is f itself; out = attention(f) + f, then again
with the same weights.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def exact(f: Tensor, wq: Tensor, bq: Tensor, wk: Tensor, bk: Tensor, recurrence: int = 2) -> Tensor:
    """The formula as it stands: an energy for each of N + C - 1 partners of every element."""
    n = f.shape[1]
    own = torch.eye(n, dtype=torch.bool, device=f.device)
    for _ in range(recurrence):
        q = F.normalize(f.unsqueeze(-1) * wq + bq, dim=-1)  # [B, N, C, D]
        k = F.normalize(f.unsqueeze(-1) * wk + bk, dim=-1)
        row = q @ k.transpose(-1, -2)  # [B, N, C, C]
        col = q.transpose(1, 2) @ k.transpose(1, 2).transpose(-1, -2)  # [B, C, N, N]
        row, col = row.exp(), col.exp().masked_fill(own, 0.0)
        total = row.sum(-1) + col.sum(-1).transpose(1, 2)
        out = (row @ f.unsqueeze(-1))[..., 0]
        out = out + (col @ f.transpose(1, 2).unsqueeze(-1))[..., 0].transpose(1, 2)
        f = out / total + f
    return f
