"""The fused form of ``ClusterDistance``: the operator on the layer's own centres."""

from typing import Any, ClassVar

from torch import Tensor
from vadfast_kernels import ops

from vadfast.layers import ClusterDistance


class ClusterDistanceRecipe:
    """Training and inference are the same: distances between centres are few beside those of the positions."""

    operator: ClassVar[str] = "cluster_distance"
    infer: ClassVar[str] = ""

    def refusal(self, layer: ClusterDistance) -> str | None:
        """Always None: the class is ours."""
        return None

    def arguments(self, layer: ClusterDistance) -> tuple[Any, ...]:
        """One position, and the centres."""
        return layer.centres.new_zeros(1, 1, layer.centres.shape[1]), layer.centres

    def forward(self, layer: ClusterDistance, z: Tensor, *, backend: str, mode: str) -> Tensor:
        """[B, C, H, W] -> [B, H, W]."""
        distance = ops.cluster_distance(
            z.flatten(2).mT, layer.centres, alpha=layer.sharpness, backend=backend
        )
        return distance.unflatten(1, z.shape[2:])
