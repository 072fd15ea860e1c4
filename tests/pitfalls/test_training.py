"""Pitfalls of training; numbers as in docs/methods.md."""

from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import load_file

from vadfast.cli import exit_code_of
from vadfast.train.__main__ import command
from vadfast.train.adl import ADLTraining
from vadfast.train.config import RunConfig

SIDE = 16


def test_01_the_flow_loss_has_a_gradient_to_the_prediction() -> None:
    options = {"image_size": SIDE, "width": 2, "flow": "lucas-kanade", "flow_weight": 1.0}
    options |= {"content_weight": 0.0, "gradient_weight": 0.0, "adversarial_weight": 0.0}
    config = {"data": "films", "dataset": "folder", "options": options}
    training = ADLTraining(RunConfig.parse(config, where="test"), None)
    torch.manual_seed(0)
    smooth = torch.nn.functional.avg_pool2d(torch.rand(1, 3, SIDE + 4, SIDE + 4), 5, 1)
    previous, target = smooth, smooth.roll(1, dims=3)
    predicted = smooth.roll(2, dims=3).requires_grad_()
    evenly = torch.ones(1, 1, SIDE, SIDE)
    losses, total = training._generator_losses(predicted, target, previous, evenly, 0.0)
    assert losses["flow"] > 0
    total.backward()
    assert predicted.grad is not None
    assert predicted.grad.abs().max() > 0


def test_20_what_is_tested_on_decides_nothing(tmp_path: Path) -> None:
    """No step of training, and no choice of weights, looks at test films or their labels."""
    weights = []
    for number, labels in enumerate(("[[1, 2]]", "[[4, 5]]")):
        root = tmp_path / str(number)
        _film(root / "training" / "a", seed=1)
        _film(root / "testing" / "b", seed=2 + number)
        (root / "labels.json").write_text(f'{{"b": {labels}}}')
        run = tmp_path / f"run-{number}"
        given = ["--data", str(root), "--out", str(run), "--steps", "3", "--image-size", str(SIDE)]
        given += ["--width", "2", "--adversarial", "0"]
        assert exit_code_of(command, name="train", arguments=given) == 0
        weights.append(load_file(run / "model.safetensors"))
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def _film(folder: Path, *, seed: int) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for i in range(8):
        image = rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        assert cv2.imwrite(str(folder / f"{i:03}.png"), image)
