"""The terms of STD, MTL and STA on top of their networks, in eager PyTorch: as published or as anybody would write them."""

import torch
from torch import Tensor
from torch.nn import functional as F


def cluster_broadcast(r: Tensor, centres: Tensor, alpha: float = 25.0) -> Tensor:
    """STD's published code: every difference of a position and a centre.

    r [B, N, C], centres [K, C] -> [B, N].
    """
    return _soft(torch.norm(r.unsqueeze(2) - centres, dim=-1), alpha)


def cluster_cdist(r: Tensor, centres: Tensor, alpha: float = 25.0) -> Tensor:
    """The same by ``torch.cdist``: a product of matrices, which cancels close to a centre."""
    return _soft(torch.cdist(r, centres.expand(len(r), -1, -1)), alpha)


def _soft(d: Tensor, alpha: float) -> Tensor:
    return ((-alpha * d).softmax(dim=-1) * d).sum(dim=-1)


def patch_max_pool(predicted: Tensor, target: Tensor, rows: int = 4, columns: int = 4) -> Tensor:
    """MTL's eq. 6 as a pooling: the mean squared error of each patch, the largest of each sample.

    predicted, target [B, C, H, W] -> scalar.
    """
    cell = (predicted.shape[2] // rows, predicted.shape[3] // columns)
    error = (predicted - target).square().mean(dim=1, keepdim=True)
    return F.avg_pool2d(error, cell).flatten(1).amax(dim=1).mean()


def embedding_pairs(normal: Tensor, abnormal: Tensor, margin: float = 0.4) -> Tensor:
    """STA's eq. 4 pair by pair, by ``F.cosine_similarity``.

    normal, abnormal [B, N, C] -> scalar.
    """
    i, j = torch.triu_indices(normal.shape[1], normal.shape[1], offset=1, device=normal.device)
    alike, unlike = (F.cosine_similarity(f[:, i], f[:, j], dim=-1) for f in (normal, abnormal))
    return 1 - alike.mean() + unlike.clamp_max(margin).mean()


def embedding_normalised(normal: Tensor, abnormal: Tensor, margin: float = 0.4) -> Tensor:
    """The same by one product of normalised segments."""
    i, j = torch.triu_indices(normal.shape[1], normal.shape[1], offset=1, device=normal.device)
    u, v = (F.normalize(f, dim=-1) for f in (normal, abnormal))
    alike, unlike = (u @ u.mT)[:, i, j], (v @ v.mT)[:, i, j]
    return 1 - alike.mean() + unlike.clamp_max(margin).mean()
