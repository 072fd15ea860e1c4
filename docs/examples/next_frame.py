"""A sixth method: four frames predict the fifth through a small network of dilated convolutions; docs/your-own-method.md explains."""

from itertools import pairwise

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from vadfast.config import Config
from vadfast.models.meaning import Meaning
from vadfast.models.prediction import cells, decibels, unit_clip
from vadfast.runtime.manifest import Chain, Component, ExponentialMean, MinMax, RobustZ
from vadfast.train.clips import open_clips
from vadfast.train.training import set_rate

N_FRAMES, BATCH, LEARNING_RATE = 5, 4, 1e-3
ABLATIONS = {"wide": {"width": 64}}


class Options(Config):
    image_size: PositiveInt = 128
    width: PositiveInt = 32


class Network(
    nn.Sequential
):  # frames 1..4 [B, 12, H, W] in [0, 1] -> what frame 5 adds to frame 4 [B, 3, H, W]
    def __init__(self, options: Options) -> None:
        widths, layers = [3 * (N_FRAMES - 1), *[options.width] * 4], []
        for i, (a, b) in enumerate(pairwise(widths)):
            layers += [nn.Conv2d(a, b, 3, padding=2**i, dilation=2**i), nn.ReLU()]
        super().__init__(*layers, nn.Conv2d(options.width, 3, 3, padding=1))


def squared_error(network: Network, frames: Tensor) -> Tensor:
    clip = unit_clip(frames)  # uint8 [B, 5, H, W, 3] -> float32 [B, 5, 3, H, W]
    return (clip[:, 3] + network(clip[:, :4].flatten(1, 2)) - clip[:, 4]).square()


class Scorer(nn.Module):  # uint8 windows -> components [B, 1] and heat map [B, H / 8, W / 8]
    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        error = squared_error(self.network, frames)
        return decibels(error.mean(dim=(1, 2, 3))).unsqueeze(1), cells(error, 8)


def meaning(_: Options) -> Meaning:
    weights = {"psnr": 1.0}
    component = Component(name="psnr", unit="dB", high_is="normal")
    causal = Chain(steps=(RobustZ(), ExponentialMean(half_life_frames=2.0)), weights=weights)
    return Meaning((component,), Chain(steps=(MinMax(),), weights=weights), causal)


class Training:
    def __init__(self, config) -> None:
        self.config, self.network = config, Network(config.options).to(config.device)
        self.optimizer = torch.optim.Adam(self.network.parameters())

    def step(self, batch, number: int) -> dict[str, Tensor]:
        frames = torch.from_numpy(batch.frames).to(self.config.device)
        loss = squared_error(self.network, frames).mean()
        self.optimizer.zero_grad()
        loss.backward()
        set_rate(self.optimizer, self.config.learning_rate * (1 - number / self.config.steps))
        self.optimizer.step()
        return {"frame": loss.detach()}

    def state(self) -> dict:
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}

    def restore(self, state: dict) -> None:
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])


def open_training(config, dataset):
    return Training(config), open_clips(config, dataset)
