"""The attention-weighted losses written for the eye: a mean of squares, and a mean of compared differences for each direction."""

import torch
from torch import Tensor


def attention_loss(
    predicted: Tensor, target: Tensor, attention: Tensor, *,
    content_weight: float = 1.0, gradient_weight: float = 1.0, edge: str = "drop",
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """The formula of ``op.py``, in the dtype of the inputs; [B, C, H, W] twice and [B, C or 1, H, W] -> loss, content, gradient."""
    a = attention.expand_as(predicted)
    content = (a * (predicted - target)).square().mean()
    gradient = predicted.new_zeros((), dtype=torch.float32)
    for axis in (2, 3):
        x, y = (_differences(z, axis, edge).abs() for z in (predicted, target))
        at_first = a.narrow(axis, 0, x.shape[axis])  # of each pair the upper or left pixel
        gradient = gradient + (at_first * (x - y).abs()).sum() / predicted.numel()
    loss = content_weight * content + gradient_weight * gradient
    return loss, content.detach(), gradient.detach()


def _differences(x: Tensor, axis: int, edge: str) -> Tensor:
    """To the next pixel along ``axis``; "tf" has a zero beyond the last one."""
    beyond = torch.zeros_like(x.narrow(axis, 0, 1)) if edge == "tf" else None
    return x.diff(dim=axis, append=beyond)
