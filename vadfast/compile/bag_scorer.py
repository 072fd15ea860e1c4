"""STA's network in the form that is exported: attention in linear time on folded weights, the RNN as ONNX's own operator.

The attention's formula as it stands holds N C (N + C) numbers a bag, half a gigabyte at 32 x 2048. Its weights are constants here, so
the planes and the kernel of ``vadfast_kernels.sta_attention.circle`` are numbers, and the rest are products of matrices.
"""

import torch
from torch import Tensor, nn
from vadfast_kernels.sta_attention.circle import direction_of, harmonics_for, prepared

from vadfast.layers import STAAttention
from vadfast.models.sta import Network, RecurrentHead

_MAX_ERROR = 1e-7  # of every exp: float32 round-off


class BagScorer(nn.Module):
    """Bags float32 [B, N, C] -> scores float32 [B, N]; takes over the weights of ``network``. For export alone."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.segments = network.segments
        attention = network.attention
        self.attention = (
            LinearAttention(attention) if isinstance(attention, STAAttention) else attention
        )
        self.head = (
            ExportedHead(network.head) if isinstance(network.head, RecurrentHead) else network.head
        )

    def forward(self, bags: Tensor) -> Tensor:
        """The score of each segment."""
        return self.head(self.attention(self.segments(bags))).squeeze(-1).sigmoid()


class LinearAttention(nn.Module):
    """``STAAttention`` with its weights folded: [B, N, C] -> the same, in O(B N C n) for n = 9 harmonics."""

    planes: Tensor
    kernel: Tensor

    def __init__(self, layer: STAAttention) -> None:
        super().__init__()
        self.recurrence, self.n_harmonics = layer.recurrence, harmonics_for(_MAX_ERROR)
        with torch.no_grad():
            wq, bq, wk, bk = (w.detach().double() for w in layer.weights())
            planes, kernel = prepared(wq, bq, wk, bk, self.n_harmonics)
        self.register_buffer("planes", planes.float())
        self.register_buffer("kernel", kernel.float())

    def forward(self, f: Tensor) -> Tensor:
        """The bags plus their mean over each element's row and column, ``recurrence`` times."""
        for _ in range(self.recurrence):
            f = self._mean(f) + f
        return f

    def _mean(self, f: Tensor) -> Tensor:
        query = direction_of(f, self.planes[:3])[:2]
        key = direction_of(f, self.planes[3:6])[:2]
        at_query, at_key = (_features(z, self.n_harmonics) for z in (query, key))  # [B, N, F, C]
        sources = torch.stack([f, torch.ones_like(f)], dim=2)  # [B, N, 2, C]
        rows = self.kernel @ (at_key @ sources.mT)  # [B, N, F, 2]
        columns = torch.einsum("bnfc,bnsc->bsfc", at_key, sources)
        columns = self.kernel @ columns  # [B, 2, F, C]
        sums = rows.mT @ at_query  # [B, N, 2, C]
        sums = sums + (at_query[:, :, None] * columns[:, None]).sum(dim=3)
        g = self.planes[6:].view(2, 2)
        x, y = query[0] * g[0, 0] + query[1] * g[1, 0], query[0] * g[0, 1] + query[1] * g[1, 1]
        own = (x * key[0] + y * key[1]).exp()  # in the row and in the column: once too often
        return (sums[:, :, 0] - own * f) / (sums[:, :, 1] - own)


def _features(z: tuple[Tensor, Tensor], n_harmonics: int) -> Tensor:
    """1, cos t, sin t, ..., cos nt, sin nt of z = (cos t, sin t) [B, N, C], along a new axis 2."""
    c, s = z
    each = [torch.ones_like(c), c, s]
    for _ in range(1, n_harmonics):
        cosine, sine = each[-2:]
        each += [cosine * c - sine * s, sine * c + cosine * s]
    return torch.stack(each, dim=2)


class ExportedHead(nn.Module):
    """``RecurrentHead`` with its RNN as ONNX's operator: exported from PyTorch's it is 800 nodes, and takes minutes.

    Outside of an export it returns zeros: ``torch.onnx.ops.symbolic`` computes nothing.
    """

    def __init__(self, head: RecurrentHead) -> None:
        super().__init__()
        self.score, self.hidden = head.score, head.rnn.hidden_size
        for layer in range(head.rnn.num_layers):
            for name, source in (("w", "weight_ih"), ("r", "weight_hh")):
                both = [
                    getattr(head.rnn, f"{source}_l{layer}{way}").detach()
                    for way in ("", "_reverse")
                ]
                self.register_buffer(f"{name}{layer}", torch.stack(both))  # [2, H, C] and [2, H, H]
            biases = [
                torch.cat(
                    [
                        getattr(head.rnn, f"bias_{kind}_l{layer}{way}").detach()
                        for kind in ("ih", "hh")
                    ]
                )
                for way in ("", "_reverse")
            ]
            self.register_buffer(f"b{layer}", torch.stack(biases))  # [2, 2 H]
        self.n_layers = head.rnn.num_layers

    def forward(self, features: Tensor) -> Tensor:
        """[B, N, C] -> [B, N, 1]."""
        x = features.transpose(0, 1)  # [N, B, C]
        for layer in range(self.n_layers):
            weights = [self.get_buffer(f"{name}{layer}") for name in "wrb"]
            x = torch.onnx.ops.symbolic(
                "RNN",
                [x, *weights],
                {
                    "hidden_size": self.hidden,
                    "direction": "bidirectional",
                    "activations": ["Relu", "Relu"],
                },
                dtype=x.dtype,
                shape=[x.shape[0], 2, x.shape[1], self.hidden],
                version=18,
            )  # [N, 2, B, H]
            x = x.transpose(1, 2).flatten(2)  # [N, B, 2 H]
        return self.score(x.transpose(0, 1))
