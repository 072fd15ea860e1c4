"""Films to features: 16 frames after 16 frames through the network, a row each, in constant memory but for the rows."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from vadfast.features.extractors import N_FRAMES, Extractor
from vadfast.progress import Steps
from vadfast.runtime.source import Source


def extract(
    source: Source, chosen: Extractor, network: nn.Module, *, batch: int, device: str, bar: Steps
) -> npt.NDArray[np.float32]:
    """Returns the features float32 [n_snippets, C] of a film; ``bar`` advances by its frames.

    A rest of fewer than 16 frames is left out; a film that has no more is filled up with its last frame.

    Raises:
        SourceError: the film cannot be decoded.
    """
    rows = []
    network = network.to(device)
    with torch.inference_mode():
        for snippets in _batches(_snippets(source, chosen, bar), batch):
            frames = torch.from_numpy(np.stack(snippets)).to(device)  # [B, 16, h, w, 3]
            rows.append(network(chosen.normalise(frames)).float().cpu().numpy())
    return np.concatenate(rows)


def _snippets(source: Source, chosen: Extractor, bar: Steps) -> Iterator[np.ndarray]:
    frames: list[np.ndarray] = []
    n_snippets = 0
    for frame in source:
        frames.append(chosen.prepare(frame.image))
        bar.advance()
        if len(frames) == N_FRAMES:
            yield np.stack(frames)
            n_snippets += 1
            frames.clear()
    if n_snippets == 0:
        yield np.stack(frames + frames[-1:] * (N_FRAMES - len(frames)))


def _batches(snippets: Iterator[np.ndarray], size: int) -> Iterator[list[np.ndarray]]:
    part: list[np.ndarray] = []
    for snippet in snippets:
        part.append(snippet)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part
