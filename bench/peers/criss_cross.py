"""Criss-cross attention (CCNet, Huang et al. 2019), one pass: each position attends to its row and its column.

    out[b, :, i, j] = sum over (m, n) in row i and column j, own position once, of softmax(q[i, j] . k[m, n]) v[m, n]

q, k [B, D, H, W], v [B, C, H, W] -> [B, C, H, W]; one softmax over H + W - 1 positions.
"""

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import AuxRequest, flex_attention


def naive(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """CCNet's own PyTorch form: two batched products, -inf on the column's diagonal, concatenation, softmax, two products."""
    b, _, h, w = q.shape
    q_col = q.permute(0, 3, 2, 1).reshape(b * w, h, -1)
    k_col = k.permute(0, 3, 1, 2).reshape(b * w, -1, h)
    v_col = v.permute(0, 3, 1, 2).reshape(b * w, -1, h)
    q_row = q.permute(0, 2, 3, 1).reshape(b * h, w, -1)
    k_row = k.permute(0, 2, 1, 3).reshape(b * h, -1, w)
    v_row = v.permute(0, 2, 1, 3).reshape(b * h, -1, w)
    own = torch.full((h,), float("-inf"), dtype=q.dtype, device=q.device).diag()
    energy_col = (torch.bmm(q_col, k_col) + own).view(b, w, h, h).permute(0, 2, 1, 3)
    energy_row = torch.bmm(q_row, k_row).view(b, h, w, w)
    attention = torch.cat([energy_col, energy_row], dim=3).softmax(dim=3)
    a_col = attention[..., :h].permute(0, 2, 1, 3).reshape(b * w, h, h)
    a_row = attention[..., h:].reshape(b * h, w, w)
    out_col = torch.bmm(v_col, a_col.transpose(1, 2)).view(b, w, -1, h).permute(0, 2, 3, 1)
    out_row = torch.bmm(v_row, a_row.transpose(1, 2)).view(b, h, -1, w).permute(0, 2, 1, 3)
    return out_col + out_row


def einsum(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Mmcv's form (``mmcv/ops/cc_attention.py``): the same by four einsums, reported 5 times faster than CCNet's CUDA op."""
    h = q.shape[2]
    own = torch.eye(h, dtype=torch.bool, device=q.device)
    energy_col = torch.einsum("bchw,bciw->bwhi", q, k)
    energy_col = energy_col.masked_fill(own, float("-inf")).permute(0, 2, 1, 3)
    energy_row = torch.einsum("bchw,bchj->bhwj", q, k)
    attention = torch.cat([energy_col, energy_row], dim=-1).softmax(dim=-1)
    out = torch.einsum("bciw,bhwi->bchw", v, attention[..., :h])
    return out + torch.einsum("bchj,bhwj->bchw", v, attention[..., h:])


def log_sum_exp(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Two attentions under their joint maximum, channels last: no concatenation and no map of H + W entries."""
    h = q.shape[2]
    q_row, k_row, v_row = (x.permute(0, 2, 3, 1) for x in (q, k, v))  # [B, H, W, .]
    q_col, k_col, v_col = (x.permute(0, 3, 2, 1) for x in (q, k, v))  # [B, W, H, .]
    own = torch.eye(h, dtype=torch.bool, device=q.device)
    row = q_row @ k_row.transpose(-1, -2)  # [B, H, W, W]
    col = (q_col @ k_col.transpose(-1, -2)).masked_fill(own, float("-inf"))  # [B, W, H, H]
    top = torch.maximum(row.amax(-1), col.amax(-1).transpose(1, 2))  # [B, H, W]
    row = (row - top.unsqueeze(-1)).exp()
    col = (col - top.transpose(1, 2).unsqueeze(-1)).exp()
    total = row.sum(-1) + col.sum(-1).transpose(1, 2)
    out = row @ v_row + (col @ v_col).transpose(1, 2)
    return (out / total.unsqueeze(-1)).permute(0, 3, 1, 2)


def flex(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Two FlexAttentions, lines as heads, merged by their log-sum-exp: fused once compiled, dense before."""
    row, row_lse = _flex(*(x.permute(0, 2, 3, 1) for x in (q, k, v)))  # [B, H, W, C], [B, H, W]
    col, col_lse = _flex(*(x.permute(0, 3, 2, 1) for x in (q, k, v)), own=False)
    weight = torch.sigmoid(row_lse - col_lse.transpose(1, 2)).unsqueeze(-1).to(v.dtype)
    return torch.lerp(col.transpose(1, 2), row, weight).permute(0, 3, 1, 2)


def _flex(q: Tensor, k: Tensor, v: Tensor, *, own: bool = True) -> tuple[Tensor, Tensor]:
    def without_own(score: Tensor, _b: Tensor, _h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return torch.where(i == j, -float("inf"), score)

    out, aux = flex_attention(
        q, k, v, score_mod=None if own else without_own, scale=1.0, return_aux=AuxRequest(lse=True)
    )
    assert aux.lse is not None
    return out, aux.lse
