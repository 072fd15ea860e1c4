"""APN's attention prototype unit as a layer: normal appearance summed into a few prototypes, and every position answered from them.

Plain PyTorch: the attention is the reference that defines the operator. ``vadfast.fuse`` swaps the fast one in.
"""

from typing import NamedTuple

from torch import Tensor, nn
from vadfast_kernels.prototype_attention.reference import prototype_attention


class Prototypes(NamedTuple):
    """What the unit returns."""

    y: Tensor  # [B, C, H, W]: the answer from the prototypes, plus z
    p: Tensor  # [B, M, C], of length 1
    compactness: Tensor  # [B, H, W]: |z - p|^2 to the prototype that fits best
    diversity: Tensor  # [B]: how much prototypes are alike


class PrototypeUnit(nn.Module):
    r"""``y = r / |r| + z``, r a mean of M prototypes p, themselves means of the positions z of the same image.

        w = softmax over positions of z W^T,  p = sum_n w_n z_n of length 1,  r = softmax over prototypes of (z p^T) p

    Source: Hu et al., "Normal learning in videos with attention prototype network", eq. 1 and 2, after Lv et al., "Learning
    normal dynamics in videos with meta prototype network", CVPR 2021. ``compactness`` and ``diversity`` are what the losses (eq.
    7, 8) and the feature score are made of; the operator's ``op.py`` has their formulas.

    Args:
        channels: C of the features; the network gives them length 1 first.
        n_prototypes: M; 10 is the paper's best.

    Shape: [B, C, H, W] -> ``Prototypes``. M C parameters, no bias.
    """

    def __init__(self, channels: int, *, n_prototypes: int = 10) -> None:
        super().__init__()
        if n_prototypes < 1:
            raise ValueError(f"PrototypeUnit: n_prototypes must be at least 1, got {n_prototypes}")
        self.score = nn.Linear(channels, n_prototypes, bias=False)

    def forward(self, z: Tensor) -> Prototypes:
        """[B, C, H, W] -> y of the same shape, and what belongs to it."""
        return as_image(z, *prototype_attention(positions(z), self.score.weight))


def positions(z: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, H W, C], a view."""
    return z.flatten(2).mT


def as_image(z: Tensor, y: Tensor, p: Tensor, compactness: Tensor, diversity: Tensor) -> Prototypes:
    """Gives what the operator found for ``positions(z)`` the height and width of z."""
    size = z.shape[2:]
    return Prototypes(y.mT.unflatten(2, size), p, compactness.unflatten(1, size), diversity)
