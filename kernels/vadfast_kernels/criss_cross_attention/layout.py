"""How criss-cross attention holds images in memory: channels last, so that a position's are next to each other."""

from torch import Tensor

_PART_BYTES = 1 << 20  # of lines at a time: what a CPU's caches hold
_PADDING = 16  # elements: lines that begin 2^n bytes apart push each other out of the cache


def channels_last(x: Tensor) -> Tensor:
    """Returns ``x`` [B, C, H, W] as [B, H, W, C]; copied where its channels are apart."""
    if x.stride(1) == 1:
        return x.permute(0, 2, 3, 1)
    if x.is_cuda:
        return x.permute(0, 2, 3, 1).contiguous()
    return _turned_by_lines(x)


def _turned_by_lines(x: Tensor) -> Tensor:
    """The copy, in half of the time: whole lines first, then each line's channels where the cache holds them."""
    b, c, h, w = x.shape
    out = x.new_empty((b, h, w, c))
    step = max(1, _PART_BYTES // (b * c * (w + _PADDING) * x.element_size()))
    room = x.new_empty((b, min(step, h), c, w + _PADDING))[..., :w]
    for i in range(0, h, step):
        lines = x[:, :, i : i + step].transpose(1, 2)  # [B, n, C, W]
        out[:, i : i + step] = room[:, : lines.shape[1]].copy_(lines).mT
    return out


def channels_first(x: Tensor) -> Tensor:
    """Returns ``x`` [B, H, W, C] as [B, C, H, W], where it lies."""
    return x.permute(0, 3, 1, 2)
