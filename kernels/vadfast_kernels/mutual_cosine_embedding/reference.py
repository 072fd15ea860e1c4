"""The mutual cosine embedding loss written for the eye: the cosine of every pair of segments of a bag."""

import torch
from torch import Tensor

from vadfast_kernels._dtypes import wide


def mutual_cosine_embedding(
    normal: Tensor, abnormal: Tensor, *,
    margin: float = 0.4, pairs: str = "min", centred: bool = False,
) -> Tensor:  # fmt: skip
    """The loss of ``op.py``, in the dtype of the inputs; bags [B, N, C] twice -> scalar."""
    alike, unlike = _cosines(normal, centred), _cosines(abnormal, centred)
    kept = unlike.clamp_max(margin) if pairs == "min" else (unlike - margin).clamp_min(0)
    return 1 - alike.mean(dtype=wide(alike)) + kept.mean(dtype=wide(kept))


def _cosines(f: Tensor, centred: bool) -> Tensor:
    """Of the pairs i < j of each bag [B, N (N - 1) / 2]; 0 with a vector that counts as zero."""
    shortest = f.new_zeros(())
    if centred:
        mean = f.mean(dim=1, keepdim=True)
        f = f - mean
        shortest = (
            8 * torch.finfo(f.dtype).eps * torch.linalg.vector_norm(mean, dim=-1, keepdim=True)
        )
    length = torch.linalg.vector_norm(f, dim=-1, keepdim=True)
    u = f / torch.where(length > shortest, length, torch.inf)
    i, j = torch.triu_indices(f.shape[1], f.shape[1], offset=1, device=f.device)
    return (u[:, i] * u[:, j]).sum(dim=-1)
