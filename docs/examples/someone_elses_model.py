"""A network that was trained elsewhere, as vadfast.compile takes it; docs/your-own-model.md explains.

Here it is small and learns to predict the next frame in a few seconds, so that there is something to compile; yours lies in a file.
"""

import os
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from vadfast.compile import ModuleSpec
from vadfast.data.datasets import load_dataset
from vadfast.runtime.manifest import InputSpec
from vadfast.runtime.preprocess import Preprocess

INPUT = InputSpec(n_frames=5, height=48, width=64, fps=15)


class NextFrame(nn.Module):  # frames 1..4 [B, 4, 3, H, W] in [0, 1] -> frame 5 [B, 3, H, W]
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(12, 16, 5, padding=2), nn.LeakyReLU(0.1), nn.Conv2d(16, 3, 5, padding=2)
        )

    def forward(self, clip: Tensor) -> Tensor:
        return clip[:, -1] + self.layers(clip.flatten(1, 2))


def train(normal: Path, weights: Path, *, steps: int = 150) -> None:
    """What somebody else did, with whatever they have."""
    torch.manual_seed(0)
    film, preprocess = load_dataset(normal).train[0].source, Preprocess(INPUT)
    frames = torch.stack([torch.from_numpy(preprocess(f.image)) for f in film])  # [n, H, W, 3]
    frames = frames.permute(0, 3, 1, 2) / 255
    network = NextFrame()
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(steps):
        first = torch.randint(len(frames) - 4, (4,))
        clip = torch.stack([frames[i : i + 5] for i in first])
        loss = (network(clip[:, :4]) - clip[:, 4]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.save(network.state_dict(), weights)


def trained() -> ModuleSpec:
    """The factory: --module someone_elses_model:trained."""
    network = NextFrame()
    network.load_state_dict(torch.load(os.environ["WEIGHTS"], weights_only=True))
    return ModuleSpec(network, INPUT, score="prediction", pixels="unit")


if __name__ == "__main__":
    train(Path(sys.argv[1]), Path(sys.argv[2]))
