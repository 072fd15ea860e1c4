"""The soft distance to cluster centres, written for the eye: every difference of a position and a centre exists."""

import torch
from torch import Tensor

from vadfast_kernels._dtypes import wide


def cluster_distance(r: Tensor, centres: Tensor, *, alpha: float = 25.0) -> Tensor:
    """The formula of ``op.py``; differences in the dtype of the inputs, [B, N, C] and [K, C] -> [B, N]."""
    difference = r.unsqueeze(2) - centres  # [B, N, K, C]
    d = torch.linalg.vector_norm(difference, dim=-1, dtype=wide(difference))
    return ((-alpha * d).softmax(dim=-1) * d).sum(dim=-1)
