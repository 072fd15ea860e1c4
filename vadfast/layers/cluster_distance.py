"""STD's distance from cluster centres as a layer: the centres and the formula.

Plain PyTorch: the distance is the reference that defines the operator. ``vadfast.fuse`` swaps the fast one in.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from vadfast_kernels.cluster_distance.reference import cluster_distance


class ClusterDistance(nn.Module):
    r"""How far each position is from K centres, mostly from the nearest.

        d[k] = |z - c[k]|,   D = sum_k softmax over k of (-sharpness d)[k] d[k]

    Source: Chang et al., "Video anomaly detection with spatio-temporal dissociation", Pattern Recognition 2022, eq. 10; the
    operator's ``op.py`` says what its print has lost. The released code divides by K, a constant factor.

    Args:
        channels: C of the features; the network gives them length 1 first.
        n_clusters: K; 32 is the paper's best.
        sharpness: alpha; the larger, the more the nearest centre decides.

    Shape: [B, C, H, W] -> [B, H, W]. K C parameters, random of length 1 until k-means gives them values.
    """

    def __init__(self, channels: int, *, n_clusters: int = 32, sharpness: float = 25.0) -> None:
        super().__init__()
        if n_clusters < 1:
            raise ValueError(f"ClusterDistance: n_clusters must be at least 1, got {n_clusters}")
        if not sharpness > 0:
            raise ValueError(f"ClusterDistance: sharpness must be above 0, got {sharpness}")
        self.centres = nn.Parameter(F.normalize(torch.randn(n_clusters, channels), dim=1))
        self.sharpness = sharpness

    def forward(self, z: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, H, W]."""
        distance = cluster_distance(z.flatten(2).mT, self.centres, alpha=self.sharpness)
        return distance.unflatten(1, z.shape[2:])

    def extra_repr(self) -> str:
        """Shown by ``print(model)``."""
        return f"n_clusters={len(self.centres)}, sharpness={self.sharpness}"
