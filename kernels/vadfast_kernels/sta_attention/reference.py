"""STA's attention written for the eye: a score for each of the N + C - 1 partners of every element, one softmax."""

import torch
from torch import Tensor
from torch.nn import functional as F


def sta_attention(
    f: Tensor, wq: Tensor, bq: Tensor, wk: Tensor, bk: Tensor, *, recurrence: int = 2
) -> Tensor:
    """The formula of ``op.py``, in the dtype of the inputs; f [B, N, C], w and b [D] -> [B, N, C]."""
    own = torch.eye(f.shape[1], dtype=torch.bool, device=f.device)[:, None]  # [N, 1, N]
    for _ in range(recurrence):
        q = F.normalize(f.unsqueeze(-1) * wq + bq, dim=-1)  # [B, N, C, D]
        k = F.normalize(f.unsqueeze(-1) * wk + bk, dim=-1)
        row = torch.einsum("bncd,bnjd->bncj", q, k)  # [B, N, C, C]
        column = torch.einsum("bncd,bicd->bnci", q, k)  # [B, N, C, N]
        column = column.masked_fill(own, float("-inf"))  # the row has it already
        a = torch.cat([row, column], dim=-1).softmax(dim=-1)
        a_row, a_column = a[..., : row.shape[-1]], a[..., row.shape[-1] :]
        mean = torch.einsum("bncj,bnj->bnc", a_row, f)
        f = mean + torch.einsum("bnci,bic->bnc", a_column, f) + f
    return f
