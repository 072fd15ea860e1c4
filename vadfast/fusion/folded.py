"""A criss-cross layer's weights as a fused pass takes them: made from the parameters, or kept between calls while those stand still."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from vadfast.errors import BackendError

_KEPT = "_vadfast_kept"


class Parts(NamedTuple):
    """The parameters of one layer, whatever their names are."""

    query: nn.Conv2d
    key: nn.Conv2d
    value: nn.Conv2d
    gamma: Tensor

    def tensors(self) -> list[Tensor]:
        """Returns all there are."""
        convolutions = (self.query, self.key, self.value)
        biases = [b for c in convolutions if (b := c.bias) is not None]
        return [*(c.weight for c in convolutions), *biases, self.gamma]


class Folded(NamedTuple):
    """Queries and keys in one product; the gain in the projection's weight, where it costs nothing a position."""

    qk_weight: Tensor  # [2 D, C, 1, 1]
    qk_bias: Tensor | None  # [2 D]
    value_weight: Tensor  # [C, C, 1, 1], times gamma
    value_bias: Tensor | None  # [C], times gamma


class _Kept(NamedTuple):
    folded: Folded
    # Aliases of what it was made from. To hold them keeps their memory from being given to other weights.
    sources: list[Tensor]
    versions: list[int]

    def holds_for(self, tensors: list[Tensor]) -> bool:
        return len(tensors) == len(self.sources) and all(
            t.data_ptr() == s.data_ptr() and t.dtype == s.dtype and t._version == version
            for t, s, version in zip(tensors, self.sources, self.versions, strict=True)
        )


def fold(parts: Parts) -> Folded:
    """Returns the weights of a pass; gradients go through to the parameters."""
    query, key, value, gamma = parts
    return Folded(
        torch.cat([query.weight, key.weight]),
        None if query.bias is None or key.bias is None else torch.cat([query.bias, key.bias]),
        gamma * value.weight,
        None if value.bias is None else gamma * value.bias,
    )


def kept(layer: nn.Module, parts: Parts, x: Tensor) -> Folded:
    """Returns the weights of the last call while no parameter has changed since, else ``fold``.

    PyTorch's version counter says so: it counts optimiser steps, ``load_state_dict``, ``nn.init`` and any other write in place.
    A write through ``.data`` it does not count; ``fuse`` again after one.

    Raises:
        BackendError: a gradient is asked for, which kept weights would not pass on.
    """
    if torch.compiler.is_compiling():  # and will fold constants by itself
        return fold(parts)
    tensors = parts.tensors()
    if any(t.is_inference() for t in tensors):  # these have no version
        return fold(parts)
    if torch.is_grad_enabled() and any(t.requires_grad for t in (x, *tensors)):
        raise BackendError(
            f"fuse: {type(layer).__name__} fused with mode='infer' must run without gradient, got a tensor that requires one; "
            "call it under torch.no_grad(), or fuse(model, mode='train')"
        )
    last: _Kept | None = layer.__dict__.get(_KEPT)
    if last is None or not last.holds_for(tensors):
        last = _Kept(fold(parts), [t.detach() for t in tensors], [t._version for t in tensors])
        layer.__dict__[_KEPT] = last
    return last.folded


def forget(layer: nn.Module) -> None:
    """Drops what ``kept`` left on ``layer``."""
    layer.__dict__.pop(_KEPT, None)
