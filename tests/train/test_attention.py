"""Attention maps made before training see the frames that are trained on, and no others."""

import numpy as np
import pytest
import torch

from vadfast.data.store import FrameStore
from vadfast.models import adl
from vadfast.models.prediction import signed_clip
from vadfast.train.attention import precomputed_maps

N_FRAMES, N_TRAINED = 12, 9
OFFSETS = np.array([0, N_FRAMES, 2 * N_FRAMES])


def _frames() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2 * N_FRAMES, 16, 16, 3), np.uint8)


def _maps(frames: np.ndarray, scope: str) -> torch.Tensor:
    config = adl.ADLConfig(image_size=16, width=4, attention=scope)
    store = FrameStore(frames, OFFSETS)
    maps = precomputed_maps(config, store, (), None, [N_TRAINED, N_TRAINED])
    assert maps is not None
    return maps


@pytest.mark.parametrize("scope", ["video", "dataset"])
def test_a_held_out_frame_does_not_reach_the_maps(scope: str) -> None:
    frames = _frames()
    held_out, trained = frames.copy(), frames.copy()
    held_out[N_TRAINED:N_FRAMES] = 0
    trained[N_TRAINED - 1] = 0
    before = _maps(frames, scope)
    assert torch.equal(_maps(held_out, scope), before)
    assert not torch.equal(_maps(trained, scope), before)


def test_the_map_of_a_film_is_that_of_one_long_clip() -> None:
    frames = _frames()
    clip = signed_clip(torch.from_numpy(frames[:N_TRAINED])[None])
    expected = adl.attention_map(clip, background=0.0)
    torch.testing.assert_close(_maps(frames, "video")[:1], expected, rtol=1e-4, atol=1e-5)
