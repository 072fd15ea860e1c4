"""APN's prototype attention written for the eye: every product of a position and a prototype, [B, N, M, C] at once."""

import torch
from torch import Tensor
from torch.nn import functional as F


def prototype_attention(z: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The formula of ``op.py``, in the dtype of the inputs; z [B, N, C], weight [M, C] -> y, p, compactness, diversity."""
    w = torch.einsum("bnc,mc->bnm", z, weight).softmax(dim=1)  # over positions
    p = F.normalize((w.unsqueeze(-1) * z.unsqueeze(2)).sum(dim=1), dim=-1)  # [B, M, C]
    s = torch.einsum("bnc,bmc->bnm", z, p)
    beta = s.softmax(dim=-1)  # over prototypes
    retrieved = (beta.unsqueeze(-1) * p.unsqueeze(1)).sum(dim=2)  # [B, N, C]
    y = F.normalize(retrieved, dim=-1) + z
    nearest = s.argmax(dim=-1, keepdim=True).expand(z.shape)  # [B, N, C]
    compactness = (z - p.gather(1, nearest)).square().sum(dim=-1)  # [B, N]
    return y, p, compactness, diversity(p)


def diversity(p: Tensor) -> Tensor:
    """How much prototypes [B, M, C] are alike: the mean over pairs of max(0, 1 - |p - p'|^2), [B]."""
    m = p.shape[1]
    pairs = torch.triu_indices(m, m, offset=1, device=p.device)
    between = (p[:, pairs[0]] - p[:, pairs[1]]).square().sum(dim=-1)  # [B, pairs]
    return (1 - between).clamp_min(0).sum(dim=-1) / max(1, m * (m - 1) // 2)
