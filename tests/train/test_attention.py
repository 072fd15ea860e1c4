"""Attention maps made before training see the frames that are trained on, and no others; each clip gets those of its film or frame."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from vadfast.data.clips import Batch
from vadfast.data.datasets import load_dataset
from vadfast.data.store import FrameStore
from vadfast.errors import SourceError, UsageError
from vadfast.models import adl
from vadfast.models.prediction import signed_clip
from vadfast.train.adl import ADLTraining, open_training
from vadfast.train.attention import precomputed_maps
from vadfast.train.config import RunConfig

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


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Two films of noise, and masks of another size, other in every frame."""
    rng = np.random.default_rng(1)
    for name in ("a", "b"):
        (tmp_path / "films" / name).mkdir(parents=True)
        for t in range(N_FRAMES):
            image = rng.integers(0, 256, (16, 16, 3), np.uint8)
            cv2.imwrite(str(tmp_path / "films" / name / f"{t:02}.png"), image)
        (tmp_path / "masks").mkdir(exist_ok=True)
        np.save(tmp_path / "masks" / f"{name}.npy", rng.integers(0, 2, (N_FRAMES, 32, 32), bool))
    return tmp_path / "films"


def _config(films: Path, scope: str, masks: Path | None = None) -> RunConfig:
    size = {"image_size": 16, "width": 2, "adversarial_weight": 0, "background": 0.25}
    values = {"data": str(films), "dataset": "folder", "batch": 2, "holdout": 0.0}
    values |= {"options": size | {"attention": scope}}
    return RunConfig.parse(values | {"mask_folder": masks and str(masks)}, where="test")


def _across_films(training: ADLTraining, batch: Batch) -> torch.Tensor:
    assert sorted(batch.video.tolist()) == [0, 1]
    return training._attention(torch.from_numpy(batch.frames), batch)


@pytest.mark.parametrize("scope", ["none", "clip", "video", "dataset", "mask"])
def test_a_clip_gets_the_map_of_its_film_or_frame(films: Path, scope: str) -> None:
    masks = films.parent / "masks"
    config = _config(films, scope, masks if scope == "mask" else None)
    training, clips = open_training(config, load_dataset(films, "folder"))
    store = clips.store
    last = np.array([N_FRAMES + 9, 6])  # of film b, then of film a
    frames = np.stack([store.frames[n - 4 : n + 1] for n in last])
    found = _across_films(training, Batch(frames, np.array([1, 0]), last))
    signed = signed_clip(torch.from_numpy(np.array(store.frames)).unflatten(0, (2, N_FRAMES)))
    of_films = adl.attention_map(signed, background=0.0)  # [2, 3, H, W]
    wanted = {
        "none": torch.ones(2, 1, 16, 16),
        "clip": adl.attention_map(signed_clip(torch.from_numpy(frames)), background=0.25),
        "video": of_films.flip(0) + 0.25,
        "dataset": of_films.mean(dim=0, keepdim=True).expand(2, -1, -1, -1) + 0.25,
        "mask": torch.stack(
            [
                # Nearest of two by two: the upper left.
                torch.from_numpy(np.load(masks / f"{name}.npy")[n][None, ::2, ::2]).float() + 0.25
                for name, n in (("b", 9), ("a", 6))
            ]
        ),
    }[scope]
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_masks_that_are_absent_or_too_few_are_said_before_films_are_decoded(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VADFAST_CACHE", str(tmp_path / "cache"))
    dataset, masks = load_dataset(films, "folder"), films.parent / "masks"
    with pytest.raises(UsageError, match=r"got no --mask-folder; name a folder"):
        open_training(_config(films, "mask"), dataset)
    np.save(masks / "b.npy", np.ones((7, 16, 16), bool))
    with pytest.raises(
        SourceError, match=r"b.npy: must be \[12, h, w\], .* got \[7, 16, 16\]; write"
    ):
        open_training(_config(films, "mask", masks), dataset)
    (masks / "a.npy").unlink()
    with pytest.raises(SourceError, match=r"a.npy.*write one for each training film"):
        open_training(_config(films, "mask", masks), dataset)
    assert not list(tmp_path.rglob("cache/*"))
