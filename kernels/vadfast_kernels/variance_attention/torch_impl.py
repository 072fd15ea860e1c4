"""STD's variance attention in plain PyTorch: pooled first, two passes over x in either direction."""

import torch
from torch import Tensor
from torch.nn import functional as F

from vadfast_kernels._dtypes import wide
from vadfast_kernels.variance_attention.gain import centred, gain_backward, gain_of, share


def forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, cell: int, variant: str
) -> tuple[Tensor, Tensor]:
    """Returns y like x, and the variance v of each cell [B, P]."""
    f = F.linear(_pool(x, cell), *centred(weight, bias))  # [B, P, D], its mean over D is 0
    v = f.square_().sum(dim=-1) * share(len(weight), variant)
    # Products are made in float32 and rounded into the dtype of x.
    return torch.mul(x, _spread(gain_of(v, variant), x, cell), out=torch.empty_like(x)), v


def backward(
    x: Tensor, weight: Tensor, bias: Tensor | None, v: Tensor, dy: Tensor, cell: int, variant: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns dx like x, dweight [D, C] and dbias [D], empty without a bias."""
    gain = gain_of(v, variant)
    product = (x.to(v.dtype) * dy.to(v.dtype)).sum(dim=1, keepdim=True)  # [B, 1, H, W]
    dgain = F.avg_pool2d(product, cell, divisor_override=1).flatten(1)
    dv = gain_backward(v, gain, dgain, variant)
    dpooled, dweight, dbias = _embedding_backward(_pool(x, cell), weight, bias, dv, variant)
    dx = torch.empty_like(x, dtype=v.dtype)
    _scale_and_add(dy.to(v.dtype), _spread(gain, x, cell), dpooled / cell**2, cell, out=dx)
    return dx.to(x.dtype), dweight, dbias


def _embedding_backward(
    pooled: Tensor, weight: Tensor, bias: Tensor | None, dv: Tensor, variant: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the gradients of pooled [B, P, C] (float32 at least), of weight [D, C] and of bias [D], or none, from dv [B, P]."""
    w, b = centred(weight, bias)
    # Its mean over D is 0 because f's is: gradients come out centred, and need no centring of their own.
    slope = 2 * share(len(weight), variant) * dv.unsqueeze(-1)
    df = F.linear(pooled, w, b) * slope  # [B, P, D]
    flat = df.flatten(0, 1)
    dweight = flat.T @ pooled.flatten(0, 1)
    dbias = weight.new_empty(0) if bias is None else flat.sum(dim=0).to(weight.dtype)
    return df @ w, dweight.to(weight.dtype), dbias


def _scale_and_add(dy: Tensor, gain: Tensor, dpooled: Tensor, cell: int, *, out: Tensor) -> None:
    """Writes dy gain + dpooled of the cell; dpooled is widened along rows only, because a broadcast over columns runs in steps of a cell."""
    b, c, h, w = out.shape
    cells = dpooled.view(b, h // cell, w // cell, c).repeat_interleave(cell, dim=2)
    cells = cells.permute(0, 3, 1, 2)  # [B, C, H / cell, W]
    if not out.is_contiguous(memory_format=torch.channels_last):
        cells = cells.contiguous()
    rows = (h // cell, cell)
    torch.addcmul(
        cells.unsqueeze(3),
        dy.unflatten(2, rows),
        gain.unflatten(2, rows),
        out=out.unflatten(2, rows),
    )


def _pool(x: Tensor, cell: int) -> Tensor:
    """The mean of each cell [B, P, C], in float32 at least."""
    return F.avg_pool2d(x.to(wide(x)), cell).flatten(2).mT


def _spread(gain: Tensor, x: Tensor, cell: int) -> Tensor:
    """The gain of each position's cell [B, 1, H, W]."""
    b, _, h, w = x.shape
    cells = gain.view(b, 1, h // cell, w // cell)
    return F.interpolate(cells, scale_factor=cell, mode="nearest")
