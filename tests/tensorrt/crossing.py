"""The tiny scorer with criss-cross attention."""

import torch
from torch import Tensor, nn

from tests.compile.tiny import TinyScorer
from vadfast.layers import CrissCross


class Crossing(TinyScorer):
    """Two passes of criss-cross attention before its network."""

    def __init__(self, affinity: str = "dot") -> None:
        super().__init__()
        self.cross = CrissCross(6, query_channels=4, affinity=affinity)
        nn.init.constant_(self.cross.gamma, 0.5)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        clip = frames.float().permute(0, 1, 4, 2, 3) / 127.5 - 1
        predicted = self.net(self.cross(clip[:, :-1].flatten(1, 2)))
        error = ((predicted - clip[:, -1]) / 2).square()
        psnr = -10 * torch.log10(error.mean(dim=(1, 2, 3)).clamp_min(1e-10))
        return psnr[:, None], nn.functional.avg_pool2d(error.mean(dim=1, keepdim=True), 8)[:, 0]
