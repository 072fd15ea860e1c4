r"""STA: weakly supervised anomaly detection with spatial-temporal attention (Liu et al., ICASSP 2022).

A film is a bag of 32 segments, each the mean feature of its snippets; of a training film it is known only whether something
abnormal happens in it. Criss-cross attention mixes the segments of a bag, a small head gives each a score, and training ranks the
highest score of abnormal bags above that of normal ones (multiple instance learning).

Where the paper leaves room, and what is done here:

    eq. 1, 2    -inf is meant off the cross, and a softmax over keys: see the operator ``sta_attention``.
    eq. 4       min(cos, margin) as printed; ``mce="hinge"`` is the usual loss. On features after a ReLU all cosines lie above the
                margin of 0.4 and the abnormal term is a constant: ``centred`` takes the mean of the bag off before.
    ranking     all pairs of normal and abnormal bags, their mean (Sultani et al. sum them).
    input       each segment is scaled to length 1 (Sultani's preparation); here in the graph, so that a bag is just pooled features.
                ``unit_length=False`` keeps the lengths: in some features they tell more than the directions.
                ``scale`` multiplies that: at length 1 an element of 2048 is about 0.02, the queries of all are alike and the
                attention is the plain mean of row and column; at sqrt(C) elements are about 1 and it can tell them apart.
                ``learn_scale`` trains it. A temperature of the softmax itself is left out: the operator expands exp of a cosine, which
                ends at 1; and so is a softmax over queries, which eq. 2 prints and its text contradicts.
    head        "FC" of the ablation is Sultani's: C -> 512, ReLU, dropout 0.6 -> 32, dropout 0.6 -> 1.
"""

from typing import Literal, NamedTuple

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F
from vadfast_kernels import ops

from vadfast.config import Config
from vadfast.layers import STAAttention

_DROPOUT = 0.6
_FC_WIDTHS = (512, 32)


class STAConfig(Config):
    """What makes one STA model and its training different from another."""

    n_features: PositiveInt = 2048  # C; training takes it from the data
    n_segments: PositiveInt = Field(default=32, ge=2)
    unit_length: bool = True  # every segment, before the scale
    scale: PositiveFloat = 1.0
    learn_scale: bool = False  # it is trained, and begins with ``scale``
    criss_cross: bool = True
    recurrences: PositiveInt = 2
    attention_channels: PositiveInt = 10
    head: Literal["rnn", "fc"] = "rnn"
    hidden: PositiveInt = 64  # units of the RNN in each direction
    mce: Literal["off", "min", "hinge"] = "min"
    centred: bool = False
    margin: float = Field(default=0.4, ge=-1, le=1)
    mce_weight: NonNegativeFloat = 0.02
    smoothness_weight: NonNegativeFloat = 2e-4
    sparsity_weight: NonNegativeFloat = 4e-5


Options = STAConfig

# Rows of the paper's table 2, and the net without its attention.
ABLATIONS: dict[str, dict[str, object]] = {
    "no-mce": {"mce": "off"},
    "fc": {"head": "fc"},
    "fc-no-mce": {"head": "fc", "mce": "off"},
    "no-criss-cross": {"criss_cross": False},
}


# ------------------------------------------------------------------------------------------------ network


class Scored(NamedTuple):
    """What the network makes of bags: the score of each segment [B, N] in (0, 1), high = abnormal, and its features [B, N, C]."""

    scores: Tensor
    features: Tensor


class Network(nn.Module):
    """Bags float32 [B, N, C] of pooled features -> ``Scored``.

    Parameters at C = 1024, 2048, 4096: 164,521, 295,593, 557,737, of which the attention has 40; one more with ``learn_scale``.
    """

    def __init__(self, config: STAConfig) -> None:
        super().__init__()
        self.segments = Segments(config)
        self.attention = (
            STAAttention(config.attention_channels, recurrence=config.recurrences)
            if config.criss_cross
            else nn.Identity()
        )
        self.head = (
            RecurrentHead(config.n_features, config.hidden)
            if config.head == "rnn"
            else _fully_connected(config.n_features)
        )

    def forward(self, bags: Tensor) -> Scored:
        """Scores every segment."""
        features = self.attention(self.segments(bags))  # [B, N, C]
        return Scored(self.head(features).squeeze(-1).sigmoid(), features)


class Segments(nn.Module):
    """Bags [B, N, C] as the attention takes them: every segment of length 1, or as long as it is, times the scale."""

    def __init__(self, config: STAConfig) -> None:
        super().__init__()
        self.unit_length = config.unit_length
        self.scale: nn.Parameter | float = config.scale
        if config.learn_scale:
            self.scale = nn.Parameter(torch.tensor(config.scale))

    def forward(self, bags: Tensor) -> Tensor:
        """The same shape."""
        return (F.normalize(bags, dim=-1) if self.unit_length else bags) * self.scale


class RecurrentHead(nn.Module):
    """Two layers of a ReLU RNN in both directions, then one number: [B, N, C] -> [B, N, 1] before the sigmoid."""

    def __init__(self, n_features: int, hidden: int) -> None:
        super().__init__()
        self.rnn = nn.RNN(
            n_features, hidden, 2, nonlinearity="relu", batch_first=True, bidirectional=True
        )
        self.score = nn.Linear(2 * hidden, 1)

    def forward(self, features: Tensor) -> Tensor:
        """The scores' logits."""
        states, _ = self.rnn(features)  # [B, N, 2 hidden]
        return self.score(states)


def _fully_connected(n_features: int) -> nn.Sequential:
    wide, narrow = _FC_WIDTHS
    return nn.Sequential(
        nn.Linear(n_features, wide),
        nn.ReLU(),
        nn.Dropout(_DROPOUT),
        nn.Linear(wide, narrow),  # no activation, as published
        nn.Dropout(_DROPOUT),
        nn.Linear(narrow, 1),
    )


# ------------------------------------------------------------------------------------------------ losses


def ranking_loss(normal: Tensor, abnormal: Tensor) -> Tensor:
    """Mean over all pairs of bags of max(0, 1 - max score of the abnormal + max score of the normal).

    >>> ranking_loss(torch.tensor([[0.1, 0.2]]), torch.tensor([[0.0, 0.9], [0.3, 0.2]]))   # 0.3 and 0.9
    tensor(0.6000)
    """
    highest = normal.amax(dim=1)[:, None] - abnormal.amax(dim=1)  # [Bn, Ba]
    return (1 + highest).clamp_min(0).mean()


def smoothness_loss(abnormal: Tensor) -> Tensor:
    """Sum over a bag's neighbours of (r_i+1 - r_i)^2, mean over bags [B, N]: no difference crosses from film to film."""
    return abnormal.diff(dim=1).square().sum(dim=1).mean()


def sparsity_loss(abnormal: Tensor) -> Tensor:
    """Sum of a bag's scores, mean over bags [B, N]: most of an abnormal film is normal."""
    return abnormal.sum(dim=1).mean()


class Losses(NamedTuple):
    """The total, its unweighted parts by name, and the share of abnormal pairs that mutual cosine embedding has a gradient for."""

    total: Tensor
    parts: dict[str, Tensor]
    active: Tensor | None


def losses(normal: Scored, abnormal: Scored, config: STAConfig) -> Losses:
    """Ranking + smoothness and sparsity of abnormal bags + 0.02 x mutual cosine embedding (paper eq. 4 to 6)."""
    parts = {
        "ranking": ranking_loss(normal.scores, abnormal.scores),
        "smoothness": smoothness_loss(abnormal.scores),
        "sparsity": sparsity_loss(abnormal.scores),
    }
    weights = [1.0, config.smoothness_weight, config.sparsity_weight]
    active = None
    if config.mce != "off":
        embedding = ops.mutual_cosine_embedding(
            normal.features, abnormal.features,
            margin=config.margin, pairs=config.mce, centred=config.centred,
        )  # fmt: skip
        parts["mce"], active = embedding.loss, embedding.active
        weights.append(config.mce_weight)
    total = torch.stack([w * part for w, part in zip(weights, parts.values(), strict=True)]).sum()
    return Losses(total, parts, active)
