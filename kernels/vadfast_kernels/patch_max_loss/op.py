r"""MTL's training loss: each sample counts by its worst patch alone.

A frame is cut into ``rows`` x ``columns`` patches of h x w pixels. For prediction P and target T::

    e[b, p]  =  mean over the channels and pixels of patch p of (P[b] - T[b])^2
    loss     =  mean over b of max over p of e[b, p]

Source: Baradaran and Bergevin, "Multi-Task Learning based Video Anomaly Detection with Attention",
arXiv 2210.07697, eq. 6: 16 patches. The paper does not say how a batch is averaged; here each sample has its own worst patch.

Shapes (any strides; rows divides H, columns divides W)

    predicted, target   [B, C, H, W]
    loss                scalar

Numbers
    dtype       float32, float16 or bfloat16, each tensor its own; float64 on the backend ``torch``. Autocast changes nothing.
    arithmetic  in float32; the loss is float32. With a float64 input both are float64.
    memory      until the backward one number a sample; eager keeps a frame.
    gradient    to ``predicted`` alone, and within the worst patch of each sample: 2 (P - T) / (B C h w), elsewhere 0. The target is a
                constant: one that requires grad is refused. No second derivative.
    ties        the first of equally bad patches, row by row, has all of the gradient. Patches whose errors differ by less than
                round-off may count as equal or not.
    layout      planes and channels last are read in order; the gradient has the memory format of ``predicted``.
    not finite  a patch with a NaN is the worst, one with an infinity is worse than any finite one; they reach the loss, as in eager,
                and the gradient of their sample.
    repeatable  bit for bit, loss and gradient, on one device: no atomics.

Backends, in the order that ``backend="auto"`` tries them

    triton      CUDA of capability 8.0    triton_impl.py
    torch       any device                torch_impl.py
    (reference.py is for tests: what the other two must equal)

Triton pays, by this count (MTL's appearance branch, 16 x 10 x 256 x 256 float32; MB = 10^6 bytes, each operation reading its inputs and
writing its output once)

                            forward    with backward
    least, and triton          84 MB           131 MB
    torch, on a GPU           169 MB           240 MB
    eager                     252 MB           587 MB

Raises:
    ValueError    wrong rank; shapes that do not agree; an empty tensor; rows or columns that do not divide H or W; a target that
                  requires grad; an unknown backend.
    TypeError     a dtype not listed above; devices differ.
    BackendError  the named backend cannot run; the message says why.

Example:
    >>> predicted = torch.tensor([[[[0.0, 1.0, 3.0, 1.0]]]])     # patches of two pixels: (0 + 1) / 2 and (9 + 1) / 2
    >>> patch_max_loss(predicted, torch.zeros(1, 1, 1, 4), rows=1, columns=2)
    tensor(5.)
"""

from typing import Any

import torch
from torch import Tensor

from vadfast_kernels import _triton
from vadfast_kernels._dtypes import FLOATS, wide
from vadfast_kernels._op import Backend, Operator

_NAME = "patch_max_loss"


def patch_max_loss(
    predicted: Tensor, target: Tensor, *, rows: int = 4, columns: int = 4, backend: str = "auto"
) -> Tensor:
    """Returns the scalar loss; the module's docstring is the contract."""
    _check(predicted, target, rows, columns)
    loss, _ = torch.ops.vadfast.patch_max_loss(predicted, target, rows, columns, backend)
    return loss


def _check(predicted: Tensor, target: Tensor, rows: int, columns: int) -> None:
    if predicted.dim() != 4 or predicted.numel() == 0:
        raise ValueError(
            f"{_NAME}: predicted must be [B, C, H, W] and not empty, got {list(predicted.shape)}"
        )
    if target.shape != predicted.shape:
        raise ValueError(
            f"{_NAME}: target must be {list(predicted.shape)} like predicted, got {list(target.shape)}"
        )
    for name, side, n in (("rows", "H", rows), ("columns", "W", columns)):
        size = predicted.shape[2 if side == "H" else 3]
        if n < 1 or size % n:
            raise ValueError(f"{_NAME}: {name} must divide {side}, {size}, got {n}; pad or resize")
    for name, x in (("predicted", predicted), ("target", target)):
        if x.dtype not in FLOATS:
            raise TypeError(
                f"{_NAME}: {name} must be float32, float16, bfloat16 or float64, got {x.dtype}"
            )
    if target.device != predicted.device:
        raise TypeError(
            f"{_NAME}: target must be on {predicted.device} like predicted, got one on {target.device}"
        )
    if target.requires_grad and torch.is_grad_enabled():
        raise ValueError(
            f"{_NAME}: target is a constant without gradient, got one that requires it; detach it"
        )


def _triton_refusal(*tensors: Tensor) -> str | None:
    return next((reason for x in tensors if (reason := _triton.refusal(x))), None)


def sample(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Returns the arguments of a typical call: a training batch in little."""
    return tuple(torch.zeros(4, 1, 8, 8, device=device, dtype=dtype) for _ in range(2))


OPERATOR = Operator(
    _NAME,
    (
        Backend("triton", "vadfast_kernels.patch_max_loss.triton_impl", _triton_refusal),
        Backend("torch", "vadfast_kernels.patch_max_loss.torch_impl", lambda *_: None),
    ),
)


@torch.library.custom_op("vadfast::patch_max_loss", mutates_args=())
def _forward(
    predicted: Tensor, target: Tensor, rows: int, columns: int, backend: str
) -> tuple[Tensor, Tensor]:
    """Returns the loss, and the worst patch of each sample."""
    implementation = OPERATOR.implementation(backend, predicted, target)
    loss, worst = implementation.forward(predicted, target, rows, columns)
    return loss, worst


@_forward.register_fake
def _(
    predicted: Tensor, target: Tensor, rows: int, columns: int, backend: str
) -> tuple[Tensor, Tensor]:
    loss = predicted.new_empty((), dtype=wide(predicted, target))
    return loss, predicted.new_empty(predicted.shape[:1], dtype=torch.int64)


@torch.library.custom_op("vadfast::patch_max_loss_backward", mutates_args=())
def _backward(
    predicted: Tensor, target: Tensor, worst: Tensor, dloss: Tensor, rows: int, columns: int,
    backend: str,
) -> Tensor:  # fmt: skip
    implementation = OPERATOR.implementation(backend, predicted, target)
    grad: Tensor = implementation.backward(predicted, target, worst, dloss, rows, columns)
    return grad


@_backward.register_fake
def _(
    predicted: Tensor, target: Tensor, worst: Tensor, dloss: Tensor, rows: int, columns: int,
    backend: str,
) -> Tensor:  # fmt: skip
    return torch.empty_like(predicted)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    predicted, target, ctx.rows, ctx.columns, ctx.backend = inputs
    ctx.save_for_backward(predicted, target, output[1])
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)  # zeros for the patches, which nobody would read, are a launch


def _differentiate(ctx: Any, dloss: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
    if dloss is None:
        return (None,) * 5
    dpredicted = torch.ops.vadfast.patch_max_loss_backward(
        *ctx.saved_tensors, dloss, ctx.rows, ctx.columns, ctx.backend
    )
    return dpredicted, None, None, None, None


_forward.register_autograd(_differentiate, setup_context=_setup_context)
