"""One of each layer in a small model, ours and other people's; ``MODELS`` says by what name, and what it takes."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from vadfast.layers import (
    ClusterDistance,
    CrissCross,
    PrototypeUnit,
    STAAttention,
    VarianceAttention,
)


class Scale(nn.Module):
    """mmcv's: one number without a dimension."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


class CrissCrossAttention(nn.Module):
    """Parts as in CCNet's cc_attention/functions.py, with its gamma or mmcv's; one pass, written by a mask over all pairs."""

    def __init__(self, channels: int, *, gamma: nn.Module | None = None, bias: bool = True) -> None:
        super().__init__()
        self.query_conv = nn.Conv2d(channels, 2, 1, bias=bias)
        self.key_conv = nn.Conv2d(channels, 2, 1, bias=bias)
        self.value_conv = nn.Conv2d(channels, channels, 1, bias=bias)
        self.gamma = gamma or nn.Parameter(torch.tensor([0.7]))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.query_conv(x), self.key_conv(x), self.value_conv(x)
        h, w = x.shape[2:]
        scores = torch.einsum("bdij,bdmn->bijmn", q, k)
        i, j = torch.arange(h)[:, None], torch.arange(w)[None]
        cross = (i[:, :, None, None] == i) | (j[:, :, None, None] == j)
        a = scores.masked_fill(~cross, float("-inf")).flatten(3).softmax(-1).view_as(scores)
        found = torch.einsum("bijmn,bcmn->bcij", a, v)
        found = self.gamma(found) if isinstance(self.gamma, nn.Module) else self.gamma * found
        return found + x


class CCHead(nn.Module):
    """The recurrence of mmsegmentation's CCHead and of CCNet's RCCAModule: the head repeats one layer."""

    def __init__(self) -> None:
        super().__init__()
        self.cca, self.recurrence = CrissCrossAttention(8, gamma=Scale(0.7)), 2

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.recurrence):
            x = self.cca(x)
        return x


class Answer(nn.Module):
    """All results of a prototype unit in one tensor, so that a loss reaches each."""

    def __init__(self) -> None:
        super().__init__()
        self.unit = PrototypeUnit(8, n_prototypes=3)

    def forward(self, x: Tensor) -> Tensor:
        found = self.unit(nn.functional.normalize(x, dim=1))
        terms = (
            found.compactness.mean(dim=(1, 2)) + found.diversity + found.p.abs().mean(dim=(1, 2))
        )
        return found.y + terms[:, None, None, None]


class Bags(nn.Module):
    """STA on the rows of an image's first channel."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = STAAttention()

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x[:, 0])


def _criss_cross(affinity: str) -> nn.Module:
    layer = CrissCross(8, affinity=affinity)
    nn.init.constant_(layer.gamma, 0.5)
    return layer


MODELS: dict[str, Callable[[], nn.Module]] = {
    "criss-cross": lambda: _criss_cross("dot"),
    "cosine": lambda: _criss_cross("cosine"),
    "ccnet": lambda: CrissCrossAttention(8),
    "ccnet without biases": lambda: CrissCrossAttention(8, bias=False),
    "mmseg": CCHead,
    "variance": lambda: VarianceAttention(8, cell=2),
    "variance paper": lambda: VarianceAttention(8, cell=2, variant="paper"),
    "prototypes": Answer,
    "sta": Bags,
    "clusters": lambda: ClusterDistance(8, n_clusters=4),
}


def small(name: str) -> nn.Module:
    """A convolution 3 -> 8 with the layer behind it; the same weights at every call."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), MODELS[name]())


def image(batch: int = 2, *, seed: int = 0) -> Tensor:
    """What ``small`` takes."""
    return torch.randn(batch, 3, 8, 6, generator=torch.Generator().manual_seed(seed))
