"""How criss-cross attention holds images in memory: channels last, so that a position's are next to each other."""

from torch import Tensor


def channels_last(x: Tensor) -> Tensor:
    """Returns ``x`` [B, C, H, W] as [B, H, W, C]; copied where its channels are apart."""
    x = x.permute(0, 2, 3, 1)
    return x if x.stride(-1) == 1 else x.contiguous()


def channels_first(x: Tensor) -> Tensor:
    """Returns ``x`` [B, H, W, C] as [B, C, H, W], where it lies."""
    return x.permute(0, 3, 1, 2)
