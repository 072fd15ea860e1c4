"""The networks that engines are measured on: random weights (speed does not depend on them), frames of the made scene."""

from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

from bench.cost import Cost
from bench.shapes import Network
from vadfast.compile.gate import Scorecard
from vadfast.data import synthetic
from vadfast.methods import model_module
from vadfast.models import adl, apn, prediction, std
from vadfast.runtime.engine import Outputs
from vadfast.runtime.manifest import InputSpec
from vadfast.runtime.preprocess import Preprocess

N_WINDOWS = 4


_CONFIGS: dict[str, Callable[[Network], Any]] = {
    "adl": lambda network: adl.ADLConfig(image_size=network.image_size, width=network.width),
    "apn": lambda network: apn.APNConfig(image_size=network.image_size, width=network.width),
    "std": lambda network: std.STDConfig(image_size=network.image_size, neck=network.width),
}


def scorer_of(network: Network) -> nn.Module:
    """The scorer of ``network``, the same on every call."""
    torch.manual_seed(0)
    module = model_module(network.method)
    scorer: nn.Module = module.Scorer(module.Network(_CONFIGS[network.method](network)))
    return scorer.eval()


def scorecard_of(network: Network) -> Scorecard:
    """What the gate knows of ``network``."""
    return Scorecard(*model_module(network.method).meaning(_CONFIGS[network.method](network)))


def spec_of(network: Network) -> InputSpec:
    """The input of ``network`` as bundles describe it."""
    side = network.image_size
    n_frames = model_module(network.method).N_FRAMES
    return InputSpec(n_frames=n_frames, height=side, width=side, fps=synthetic.FPS)


def windows_of(network: Network) -> list[np.ndarray]:
    """Windows of the made scene, uint8 [1, T, H, W, 3] each."""
    spec = spec_of(network)
    preprocess = Preprocess(spec)
    frames = np.empty((spec.n_frames + N_WINDOWS - 1, spec.height, spec.width, 3), np.uint8)
    for slot, made in zip(frames, synthetic.film(5, len(frames)), strict=True):
        preprocess(made.image, slot)
    return [frames[None, i : i + spec.n_frames].copy() for i in range(N_WINDOWS)]


def truth_of(network: Network) -> Outputs:
    """What the scorer gives for all windows in float64."""
    as_float32 = prediction.channels_first

    def exact(frames: Tensor) -> Tensor:
        return as_float32(frames).double()

    windows = torch.from_numpy(np.concatenate(windows_of(network)))
    with mock.patch.object(prediction, "channels_first", exact), torch.inference_mode():
        components, heatmap = scorer_of(network).double()(windows)
    assert components.dtype == torch.float64, "the scorer casts between its input and its result"
    return Outputs(components.numpy(), heatmap.numpy())


def cost_of(network: Network) -> Cost:
    """Convolutions and products as they are written; of the traffic only weights and frames, each once."""
    from torch.utils.flop_counter import FlopCounterMode

    scorer, window = scorer_of(network), torch.from_numpy(windows_of(network)[0])
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        scorer(window)
    n_bytes = 4 * sum(p.numel() for p in scorer.parameters()) + window.numel()
    return Cost(counter.get_total_flops() / 1e9, n_bytes / 1e6)
