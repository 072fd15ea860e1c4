"""Inputs of each operator from a seed, the same on every device: what tests of its numbers start from."""

import torch
from torch import Tensor
from torch.nn import functional as F

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def criss_cross_inputs(
    shape: tuple[int, ...], dtype: torch.dtype = torch.float32, seed: int = 0
) -> list[Tensor]:
    """q, k and v for (B, D, C, H, W)."""
    b, d, c, h, w = shape
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(b, n, h, w, generator=generator).to(dtype) for n in (d, d, c)]


def variance_inputs(
    shape: tuple[int, ...], dtype: torch.dtype = torch.float32, seed: int = 0
) -> list[Tensor]:
    """x, weight and bias for (B, C, D, H, W, cell)."""
    b, c, d, h, w, _ = shape
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(b, c, h, w, generator=generator, dtype=torch.float64)
    weight = torch.randn(d, c, generator=generator, dtype=torch.float64) / c**0.5
    bias = torch.randn(d, generator=generator, dtype=torch.float64) / 4
    return [t.to(dtype) for t in (x, weight, bias)]


def prototype_inputs(
    shape: tuple[int, ...], dtype: torch.dtype = torch.float32, seed: int = 0
) -> list[Tensor]:
    """z and weight for (B, N, C, M)."""
    b, n, c, m = shape
    generator = torch.Generator().manual_seed(seed)
    # Images are not noise around 0: their positions have something in common, and so prototypes a direction.
    z = torch.randn(b, n, c, generator=generator, dtype=torch.float64) + 0.5
    weight = torch.randn(m, c, generator=generator, dtype=torch.float64)
    return [F.normalize(z, dim=-1).to(dtype), weight.to(dtype)]


def near_prototype_inputs(
    shape: tuple[int, ...], dtype: torch.dtype, *, noise: float, sharpness: float
) -> list[Tensor]:
    """z and weight for (B, N, C, M) as training leaves them: every position about ``noise`` from one of M centres.

    No position is as near to a second prototype, up to the last bit, which would be two right answers and two gradients.
    """
    b, n, c, m = shape
    generator = torch.Generator().manual_seed(0)
    centres = F.normalize(torch.randn(m, c, generator=generator), dim=-1)
    around = torch.randn(b, n, c, generator=generator) / c**0.5
    z = F.normalize(centres[torch.arange(n) % m] + noise * around, dim=-1)
    return [z.to(dtype), (sharpness * centres).to(dtype)]


def attention_loss_inputs(
    shape: tuple[int, ...], dtype: torch.dtype = torch.float32, seed: int = 0
) -> list[Tensor]:
    """The prediction, target and map for (B, C, H, W, channels of the map)."""
    b, c, h, w, c_map = shape
    generator = torch.Generator().manual_seed(seed)
    predicted, target = (torch.rand(b, c, h, w, generator=generator) * 2 - 1 for _ in range(2))
    attention = torch.rand(b, c_map, h, w, generator=generator) + 0.1
    return [x.to(dtype) for x in (predicted, target, attention)]


def attention_map_inputs(
    shape: tuple[int, ...], dtype: torch.dtype = torch.float32, seed: int = 0
) -> list[Tensor]:
    """The clip for (B, T, C, H, W), in [-1, 1] or uint8."""
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    return [frames if dtype == torch.uint8 else (frames / 127.5 - 1).to(dtype)]


def sta_inputs(
    shape: tuple[int, ...], dtype: torch.dtype = torch.float32, seed: int = 0, d: int = 10
) -> list[Tensor]:
    """f, wq, bq, wk and bk for f of (B, N, C)."""
    generator = torch.Generator().manual_seed(seed)
    f = torch.rand(shape, generator=generator, dtype=torch.float64)  # after a ReLU: not negative
    weights = [torch.randn(d, generator=generator, dtype=torch.float64) for _ in range(4)]
    return [x.to(dtype) for x in (f, *weights)]


def cluster_inputs(
    shape: tuple[int, ...], dtype: torch.dtype = torch.float32, seed: int = 0
) -> list[Tensor]:
    """r and centres for (B, N, C, K), of length 1."""
    b, n, c, k = shape
    generator = torch.Generator().manual_seed(seed)
    r, centres = (torch.randn(*s, c, generator=generator) for s in ((b, n), (k,)))
    return [F.normalize(x, dim=-1).to(dtype) for x in (r, centres)]


def bag_inputs(
    shape: tuple[int, ...], dtype: torch.dtype = torch.float32, seed: int = 0
) -> list[Tensor]:
    """Normal and abnormal bags of (B, N, C)."""
    generator = torch.Generator().manual_seed(seed)
    normal = torch.rand(shape, generator=generator)  # ReLU features are not negative
    abnormal = torch.randn(shape, generator=generator)  # some pairs on either side of the margin
    return [normal.to(dtype), abnormal.to(dtype)]


def frame_inputs(
    shape: tuple[int, ...], dtype: torch.dtype = torch.float32, seed: int = 0
) -> list[Tensor]:
    """The prediction and target for (B, C, H, W)."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(shape, generator=generator).to(dtype) for _ in range(2)]
