r"""ConvLSTM-AE (Luo, Liu & Gao, "Remembering history with convolutional LSTM", ICME 2017): the second of ADL's other networks.

Each frame is encoded alone, a convolutional LSTM remembers the codes, and the last memory is decoded. ADL's table IV names it without
layers; widths follow ``width`` like those of its other networks.
"""

import torch
from torch import Tensor, nn

from vadfast.models.unet import xavier_initialise


class ConvLSTMAE(nn.Module):
    r"""Reconstructs the last of T frames from all of them.

        x[t] = three 3x3 convolutions of stride 2 of frame t                      [4w, H/8, W/8]
        i, f, o, g = a 3x3 convolution of (x[t], h[t - 1])
        c[t] = sigmoid(f) c[t - 1] + sigmoid(i) tanh(g),   h[t] = sigmoid(o) tanh(c[t]),   h[-1] = c[-1] = 0
        frame = tanh of three up-convolutions (4x4, stride 2) of h[T - 1]

    Shapes: T = 5 frames stacked on channels [B, 15, H, W] -> [B, 3, H, W] in [-1, 1]; H and W divisible by 8.
    """

    n_inputs = 5  # it sees the frame that it is judged by

    def __init__(self, *, width: int = 64) -> None:
        super().__init__()
        w = width
        self.encoder = nn.Sequential(
            *(nn.Conv2d(3, w, 3, stride=2, padding=1), nn.ReLU()),
            *(nn.Conv2d(w, 2 * w, 3, stride=2, padding=1), nn.ReLU()),
            *(nn.Conv2d(2 * w, 4 * w, 3, stride=2, padding=1), nn.ReLU()),
        )
        self.gates = nn.Conv2d(8 * w, 16 * w, 3, padding=1)
        self.decoder = nn.Sequential(
            *(nn.ConvTranspose2d(4 * w, 2 * w, 4, stride=2, padding=1), nn.ReLU()),
            *(nn.ConvTranspose2d(2 * w, w, 4, stride=2, padding=1), nn.ReLU()),
            *(nn.ConvTranspose2d(w, 3, 4, stride=2, padding=1), nn.Tanh()),
        )
        self.apply(xavier_initialise)

    def forward(self, frames: Tensor) -> Tensor:
        """Returns the reconstructed last frame [B, 3, H, W]."""
        clip = frames.unflatten(1, (self.n_inputs, 3))  # [B, 5, 3, H, W]
        codes = self.encoder(clip.flatten(0, 1)).unflatten(0, clip.shape[:2])  # [B, 5, 4w, h, w]
        h = c = torch.zeros_like(codes[:, 0])
        for t in range(self.n_inputs):
            i, f, o, g = self.gates(torch.cat([codes[:, t], h], dim=1)).chunk(4, dim=1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        return self.decoder(h)
