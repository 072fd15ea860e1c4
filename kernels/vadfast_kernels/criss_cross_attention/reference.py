"""Criss-cross attention written for the eye: one score for each of the H + W positions, one softmax."""

import torch
from torch import Tensor


def criss_cross_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The formula of ``op.py``, in the dtype of the inputs; q, k [B, D, H, W], v [B, C, H, W] -> [B, C, H, W]."""
    h = q.shape[2]
    row = torch.einsum("bdhw,bdhj->bhwj", q, k)  # [B, H, W, W]
    column = torch.einsum("bdhw,bdiw->bhwi", q, k)  # [B, H, W, H]
    own = torch.eye(h, dtype=torch.bool, device=q.device)[:, None]  # [H, 1, H]
    column = column.masked_fill(own, float("-inf"))  # the row has it already
    a = torch.cat([row, column], dim=-1).softmax(dim=-1)
    a_row, a_column = a[..., : row.shape[-1]], a[..., row.shape[-1] :]
    return torch.einsum("bhwj,bchj->bchw", a_row, v) + torch.einsum("bhwi,bciw->bchw", a_column, v)
