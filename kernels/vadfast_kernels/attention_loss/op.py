r"""ADL's training loss: the squared error and the difference of gradients, both weighted by an attention map.

For prediction P, target I and map A, all [B, C, H, W] with N = B C H W elements, and d_x, d_y the differences to the next pixel
along a row and a column::

    content   =  1/N  sum (A (P - I))^2
    gradient  =  1/N  sum A | |d_x P| - |d_x I| |  +  1/N  sum A | |d_y P| - |d_y I| |
    loss      =  content_weight * content  +  gradient_weight * gradient

A pair of pixels has the weight of its left or upper one. The last column and row have no next pixel: with ``edge="drop"`` they
have no difference, with ``"tf"`` their next pixel is 0, as in the SAME convolution of the TensorFlow original. N counts all
pixels in either case.

Source: Zhou et al., "Attention-Driven Loss for Anomaly Detection in Video Surveillance", IEEE TCSVT 2020, eq. 8 to 10, with means
where the paper prints sums: its weights make sense only so. The content loss squares A, the gradient loss does not, as printed.

Shapes (any strides)

    predicted, target   [B, C, H, W]
    attention           [B, C, H, W] or [B, 1, H, W]
    loss, content, gradient    scalars: ``content`` and ``gradient`` are the terms without their weights, for logs

Numbers
    dtype       float32, float16 or bfloat16, each tensor its own; float64 on the backend ``torch``. Autocast changes nothing.
    arithmetic  in float32, sums of tiles in float64; the results are float32. With a float64 input all of it is float64.
    memory      until the backward one tensor like ``predicted``; eager keeps five.
    gradient    of ``loss`` alone (the two terms are constants), and to ``predicted`` alone: target and attention are constants too,
                and one that requires grad is refused. It is made in the same pass as the loss and kept N times too large, so that a mean over
                a million pixels does not vanish in float16; there N times the gradient must be below 65504. sign(0) is 0, as in
                eager. No second derivative.
    layout      the gradient has the memory format of ``predicted``.
    not finite  a NaN or infinity reaches the loss and its term, as in eager.
    repeatable  bit for bit, loss and gradient, on one device: no atomics.

Backends, in the order that ``backend="auto"`` tries them

    triton      CUDA of capability 8.0    triton_impl.py
    torch       any device                torch_impl.py
    (reference.py is for tests: what the other two must equal)

Raises:
    ValueError    wrong rank; shapes that do not agree; an empty tensor; target or attention require grad; an unknown edge or
                  backend.
    TypeError     a dtype not listed above; devices differ.
    BackendError  the named backend cannot run; the message says why.

Example:
    >>> predicted = torch.tensor([[[[0.0, 1.0, 0.0]]]])        # one pixel of three is off by 1, two differences are
    >>> attention_loss(predicted, torch.zeros(1, 1, 1, 3), torch.ones(1, 1, 1, 3))   # 1/3 + 2/3
    AttentionLoss(loss=tensor(1.), content=tensor(0.3333), gradient=tensor(0.6667))
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from vadfast_kernels import _triton
from vadfast_kernels._dtypes import FLOATS, wide
from vadfast_kernels._op import Backend, Operator

EDGES = ("drop", "tf")
_NAME = "attention_loss"


class AttentionLoss(NamedTuple):
    """What ``attention_loss`` returns, all scalars."""

    loss: Tensor
    content: Tensor  # without weight and derivative, as is the next
    gradient: Tensor


def attention_loss(
    predicted: Tensor, target: Tensor, attention: Tensor, *,
    content_weight: float = 1.0, gradient_weight: float = 1.0, edge: str = "drop",
    backend: str = "auto",
) -> AttentionLoss:  # fmt: skip
    """Returns the loss and its two terms; the module's docstring is the contract."""
    if edge not in EDGES:
        raise ValueError(f"{_NAME}: edge must be one of {', '.join(EDGES)}, got {edge!r}")
    _check(predicted, target, attention)
    differentiable = predicted.requires_grad and torch.is_grad_enabled()
    loss, content, gradient, _ = torch.ops.vadfast.attention_loss(
        predicted, target, attention, content_weight, gradient_weight, edge, differentiable, backend
    )
    return AttentionLoss(loss, content, gradient)


def _check(predicted: Tensor, target: Tensor, attention: Tensor) -> None:
    if predicted.dim() != 4 or predicted.numel() == 0:
        raise ValueError(
            f"{_NAME}: predicted must be [B, C, H, W] and not empty, got {list(predicted.shape)}"
        )
    if target.shape != predicted.shape:
        raise ValueError(
            f"{_NAME}: target must be {list(predicted.shape)} like predicted, got {list(target.shape)}"
        )
    b, _, h, w = predicted.shape
    if attention.shape not in (predicted.shape, (b, 1, h, w)):
        raise ValueError(
            f"{_NAME}: attention must be {list(predicted.shape)} like predicted or {[b, 1, h, w]}, "
            f"got {list(attention.shape)}"
        )
    for name, x in (("predicted", predicted), ("target", target), ("attention", attention)):
        if x.dtype not in FLOATS:
            raise TypeError(
                f"{_NAME}: {name} must be float32, float16, bfloat16 or float64, got {x.dtype}"
            )
        if x.device != predicted.device:
            raise TypeError(
                f"{_NAME}: {name} must be on {predicted.device} like predicted, got one on {x.device}"
            )
        if name != "predicted" and x.requires_grad and torch.is_grad_enabled():
            raise ValueError(
                f"{_NAME}: {name} is a constant without gradient, got one that requires it; detach it"
            )


def _triton_refusal(*tensors: Tensor) -> str | None:
    return next((reason for x in tensors if (reason := _triton.refusal(x))), None)


def sample(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Returns the arguments of a typical call: a training batch in little."""
    return tuple(torch.zeros(4, 3, 8, 8, device=device, dtype=dtype) for _ in range(3))


OPERATOR = Operator(
    _NAME,
    (
        Backend("triton", "vadfast_kernels.attention_loss.triton_impl", _triton_refusal),
        Backend("torch", "vadfast_kernels.attention_loss.torch_impl", lambda *_: None),
    ),
)


@torch.library.custom_op("vadfast::attention_loss", mutates_args=())
def _forward(
    predicted: Tensor, target: Tensor, attention: Tensor,
    content_weight: float, gradient_weight: float, edge: str, differentiable: bool, backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Returns the loss, its two terms and N times its gradient, which is empty where nobody will ask for it."""
    implementation = OPERATOR.implementation(backend, predicted, target, attention)
    loss, content, gradient, unscaled = implementation.forward(
        predicted, target, attention.expand_as(predicted), content_weight, gradient_weight, edge,
        differentiable,
    )  # fmt: skip
    return loss, content, gradient, unscaled


@_forward.register_fake
def _(
    predicted: Tensor, target: Tensor, attention: Tensor,
    content_weight: float, gradient_weight: float, edge: str, differentiable: bool, backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    dtype = wide(predicted, target, attention)
    loss, content, gradient = (predicted.new_empty((), dtype=dtype) for _ in range(3))
    unscaled = torch.empty_like(predicted) if differentiable else predicted.new_empty(0)
    return loss, content, gradient, unscaled


# An op of its own, because one without a derivative refuses a second one; a multiplication would answer 0.
@torch.library.custom_op("vadfast::attention_loss_backward", mutates_args=())
def _backward(unscaled: Tensor, dloss: Tensor) -> Tensor:
    # Of one dimension, because a scalar would first be rounded to the half precision of the other factor.
    scale = (dloss / unscaled.numel()).reshape(1)
    return torch.mul(unscaled, scale, out=torch.empty_like(unscaled))


@_backward.register_fake
def _(unscaled: Tensor, dloss: Tensor) -> Tensor:
    return torch.empty_like(unscaled)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    _, *constants = output
    ctx.save_for_backward(constants[-1])
    ctx.mark_non_differentiable(*constants)
    ctx.set_materialize_grads(False)  # zeros for those, which nobody would read, are launches


def _differentiate(ctx: Any, dloss: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
    if dloss is None:
        return (None,) * 8
    dpredicted = torch.ops.vadfast.attention_loss_backward(*ctx.saved_tensors, dloss)
    return dpredicted, *[None] * 7


_forward.register_autograd(_differentiate, setup_context=_setup_context)
