"""Cosines of all pairs of a bag by one product of matrices, and their gradient by another one: nothing else is as large as f.

With G = f f^T, lengths are on its diagonal. The gradient is M f with M [N, N]: for W = dcos + dcos^T and l the lengths ::

    M_ij  =  W_ij / (l_i l_j)  -  [i = j]  sum_k W_ik cos_ik / l_i^2
"""

import torch
from torch import Tensor

from vadfast_kernels._dtypes import wide


def forward(f: Tensor, shortest: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the cosines [B, N, N] of f [B, N, C], and 1 / length [B, N]: 0 where that is not above ``shortest`` [B]."""
    x = f.to(wide(f))
    cosines = x @ x.mT
    lengths = cosines.diagonal(dim1=1, dim2=2).sqrt()  # [B, N]
    # Not "above", of which NaN is never true: its vectors would count as zero.
    is_zero = lengths <= shortest.unsqueeze(1)
    inverse = torch.where(is_zero, 0.0, 1 / lengths)
    return cosines.mul_(inverse.unsqueeze(1)).mul_(inverse.unsqueeze(2)), inverse


def backward(f: Tensor, cosines: Tensor, inverse: Tensor, dcosines: Tensor) -> Tensor:
    """Returns df [B, N, C]."""
    w = dcosines + dcosines.mT
    own = (w * cosines).sum(dim=-1) * inverse.square()
    m = w * inverse.unsqueeze(1) * inverse.unsqueeze(2) - own.diag_embed()
    return (m @ f.to(m.dtype)).to(f.dtype)
