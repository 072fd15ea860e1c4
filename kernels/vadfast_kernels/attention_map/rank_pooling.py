"""The weights of approximate rank pooling: what every form of ADL's attention map starts from."""

from functools import lru_cache

import torch
from torch import Tensor

# The range of M below which nothing moves: that of an edge of 2 % of full contrast which moves between frames in [-1, 1].
LEAST_CONTRAST = 0.02


def rank_pooling_weights(n_frames: int) -> Tensor:
    """Weights of approximate rank pooling (paper eq. 6; Bilen et al. 2016), float64 [T].

        alpha(t) = 2 (T - t + 1) - (T + 1) (H_T - H_{t-1}),   H_t = sum_{i <= t} 1 / i

    They sum to zero, which makes the attention map blind to any affine change of intensity.

    >>> rank_pooling_weights(5)
    tensor([-3.7000,  0.3000,  1.3000,  1.3000,  0.8000], dtype=torch.float64)
    """
    t = torch.arange(1, n_frames + 1, dtype=torch.float64)
    harmonic = torch.cumsum(1 / t, dim=0)
    before = harmonic - 1 / t  # H_{t-1}
    return 2 * (n_frames - t + 1) - (n_frames + 1) * (harmonic[-1] - before)


@lru_cache(
    maxsize=16
)  # a copy to a GPU waits for it; training asks for the same weights in every step
def weights_on(n_frames: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Returns the weights where frames are, [T]."""
    return rank_pooling_weights(n_frames).to(device, dtype)


@lru_cache(maxsize=16)
def least_range(n_frames: int) -> float:
    """Returns eps of the map, in units of frames in [-1, 1]."""
    return LEAST_CONTRAST * float(rank_pooling_weights(n_frames).abs().sum()) / 2
