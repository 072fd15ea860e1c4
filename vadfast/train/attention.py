"""Attention maps that are computed once before training: one for each film, one for the data set, or masks from disk."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from vadfast_kernels.attention_map.rank_pooling import rank_pooling_weights

from vadfast.arrays import read_array
from vadfast.data.datasets import Video
from vadfast.data.store import FrameStore
from vadfast.errors import SourceError, UsageError
from vadfast.models import adl


def precomputed_maps(
    config: adl.ADLConfig,
    store: FrameStore,
    videos: tuple[Video, ...],
    mask_folder: str | None,
    ends: Sequence[int],
) -> Tensor | None:
    """Maps without background, [n_videos, 3, H, W], or [n_frames, 1, H, W] for masks; None where A comes from each clip.

    A film's map is made of its first ``ends[v]`` frames: what is held out of training must not reach it by this way.
    """
    if config.attention in ("none", "clip"):
        return None
    if config.attention == "mask":
        return _masks(config, store, videos, mask_folder)
    maps = torch.stack([_film_map(store, v, end) for v, end in enumerate(ends)])
    if config.attention == "dataset":
        maps = maps.mean(dim=0, keepdim=True).expand_as(maps)
    return maps


def _film_map(store: FrameStore, video: int, end: int) -> Tensor:
    """A of a whole film (T = its length), summed frame by frame so that no film needs to fit into memory."""
    first = int(store.offsets[video])
    last = first + end
    alpha = rank_pooling_weights(last - first)
    pooled = np.zeros(store.frames.shape[1:], np.float64)
    for weight, frame in zip(alpha.tolist(), store.frames[first:last], strict=True):
        pooled += weight * (frame / 127.5 - 1)
    m = torch.from_numpy(pooled).float().permute(2, 0, 1).unsqueeze(0)
    return adl.normalise_attention(m, alpha.abs().sum().float(), background=0.0)[0]


def check_masks(config: adl.ADLConfig, videos: tuple[Video, ...], folder: str | None) -> None:
    """Looks whether every film has its masks, where A comes from masks; reads no frame of either.

    Raises:
        UsageError: no folder is named.
        SourceError: a film's masks are absent or damaged, or not as many as its frames.
    """
    if config.attention != "mask":
        return
    for video in videos:
        _masks_of(video, folder, video.source.n_frames)


def _masks_of(video: Video, folder: str | None, n_frames: int | None) -> np.ndarray:
    """The masks of a film, memory-mapped; ``n_frames`` is None where the film does not say."""
    if folder is None:
        raise UsageError(
            "--attention mask must have masks, got no --mask-folder; name a folder with a NAME.npy [frames, h, w] of each training film"
        )
    path = Path(folder) / f"{video.name}.npy"
    words = f"[{'frames' if n_frames is None else n_frames}, h, w]"
    masks = read_array(
        path, f"an npy array {words}", mend="write one for each training film", mmap_mode="r"
    )
    if masks.ndim != 3 or n_frames not in (None, len(masks)):
        raise SourceError(
            f"{path}: must be {words}, one mask a frame, got {list(masks.shape)}; write it again"
        )
    return masks


def _masks(
    config: adl.ADLConfig, store: FrameStore, videos: tuple[Video, ...], folder: str | None
) -> Tensor:
    """``NAME.npy`` per film: bool or uint8 [n_frames, h, w], non-zero where a person (or what matters) is."""
    size = (config.image_size, config.image_size)
    maps = torch.zeros(int(store.offsets[-1]), 1, *size, dtype=torch.uint8)
    for v, video in enumerate(videos):
        masks = _masks_of(video, folder, int(store.offsets[v + 1] - store.offsets[v]))
        for t, mask in enumerate(masks):
            resized = cv2.resize((mask > 0).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
            maps[int(store.offsets[v]) + t, 0] = torch.from_numpy(resized)
    return maps
