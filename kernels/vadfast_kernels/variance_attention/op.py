r"""STD's variance attention: a gain for every cell of a feature map, by how much the channels of its embedding differ.

The map is cut into cells of ``cell`` x ``cell`` positions, P of them in an image. For cell p of pooled features, with the 1x1
convolution's weight W and bias b::

    xp[p]  =  mean of x over the cell
    f[p]   =  W xp[p] + b
    v[p]   =  sum_d (f[p, d] - mean_d' f[p, d'])^2             variant="code"
              the same divided by D                            variant="paper"
    a      =  softmax of v over the P cells of the image
    g[p]   =  exp(a[p])                                        variant="code": within [1, e]
              a[p] / |a|_2                                     variant="paper"
    y      =  g of the position's cell * x

Source: Chang et al., "Video anomaly detection with spatio-temporal dissociation", Pattern Recognition 2022, section 3.4, eq. 7 to
9, and the authors' ``arch/module/Attention.py``, which disagree: the code sums where the paper takes the mean, pools after the
convolution, and multiplies by exp(a) where the paper normalises a by its length. The paper does not pool (``cell=1``).

Two identities make it cheap, both exact: pooling and a 1x1 convolution commute, so x is pooled first (cell^2 times fewer products);
and the mean over channels may be taken off W and b, once, instead of off every f.

Shapes (any strides; B batch, C channels, D channels of the embedding, as published D = C)

    x       [B, C, H, W]    H and W multiples of cell
    weight  [D, C]
    bias    [D] or None     as published: None
    y       [B, C, H, W]    dtype, device and memory format of x

Numbers
    dtype       float32, float16 or bfloat16, the same for x, weight and bias; float64 on the backend ``torch``.
                Under autocast all are cast to its dtype.
    arithmetic  everything between x and y in float32 at least; y is rounded once.
    range       no exponential of v is ever taken: v may be as large as float32 holds, whatever the dtype of x.
    float32     products follow ``torch.set_float32_matmul_precision``; for the halves the triton backend's are TF32.
    not finite  a NaN or infinity in an image reaches all of that image, and no other.
    memory      y, and O(B P (C + D)); x is read twice in either direction.
    gradient    to x, weight and bias; no second derivative.
    repeatable  bit for bit, forward and backward, on one device: no atomics.

Backends, in the order that ``backend="auto"`` tries them

    triton      CUDA of capability 8.0, cell <= 64    triton_impl.py
    torch       any device                            torch_impl.py

Raises:
    ValueError    wrong rank; shapes that do not agree; H or W not a multiple of cell; an empty tensor; an unknown variant or backend.
    TypeError     dtypes or devices differ, or are not listed above.
    BackendError  the named backend cannot run; the message says why.

Example:
    >>> x = torch.ones(1, 2, 2, 2)                   # all cells alike: a = 1/4 each
    >>> weight = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    >>> variance_attention(x, weight, cell=1)[0, 0, 0, 0]                     # exp(1/4)
    tensor(1.2840)
    >>> variance_attention(x, weight, cell=1, variant="paper")[0, 0, 0, 0]    # 1/4 over |a| = 1/2
    tensor(0.5000)
"""

from typing import Any

import torch
from torch import Tensor

from vadfast_kernels import _triton
from vadfast_kernels._dtypes import FLOATS, autocast_dtype, no_autocast, wide
from vadfast_kernels._op import Backend, Operator

VARIANTS = ("code", "paper")
MAX_CELL = 64  # a row of a cell, for several channels, stays in registers
_NAME = "variance_attention"


def variance_attention(
    x: Tensor, weight: Tensor, *, cell: int, variant: str = "code", bias: Tensor | None = None,
    backend: str = "auto",
) -> Tensor:  # fmt: skip
    """Returns y [B, C, H, W] for x [B, C, H, W] and weight [D, C]; the module's docstring is the contract."""
    if variant not in VARIANTS:
        raise ValueError(f"{_NAME}: variant must be one of {', '.join(VARIANTS)}, got {variant!r}")
    if dtype := autocast_dtype(x):
        x, weight = x.to(dtype), weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    _check(x, weight, bias, cell)
    y, _ = torch.ops.vadfast.variance_attention(x, weight, bias, cell, variant, backend)
    return y


def _check(x: Tensor, weight: Tensor, bias: Tensor | None, cell: int) -> None:
    if x.dim() != 4 or x.numel() == 0:
        raise ValueError(f"{_NAME}: x must be [B, C, H, W] and not empty, got {list(x.shape)}")
    if x.dtype not in FLOATS:
        raise TypeError(f"{_NAME}: x must be float32, float16, bfloat16 or float64, got {x.dtype}")
    for name, other in (("weight", weight), ("bias", bias)):
        if other is not None and (other.dtype != x.dtype or other.device != x.device):
            raise TypeError(
                f"{_NAME}: {name} must be {x.dtype} on {x.device} like x, got {other.dtype} on {other.device}"
            )
    if weight.dim() != 2 or weight.shape[1] != x.shape[1] or weight.numel() == 0:
        raise ValueError(
            f"{_NAME}: weight must be [D, {x.shape[1]}] as x is, got {list(weight.shape)}"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(
            f"{_NAME}: bias must be [{weight.shape[0]}] like weight, got {list(bias.shape)}"
        )
    if cell < 1 or x.shape[2] % cell or x.shape[3] % cell:
        raise ValueError(
            f"{_NAME}: cell must divide H and W, {x.shape[2]} and {x.shape[3]}, got {cell}; pad or resize x"
        )


def sample(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, int]:
    """Returns what decides about the backends in a typical call: STD's second motion block, in little."""
    return torch.zeros(1, 128, 8, 8, device=device, dtype=dtype), 4


def _triton_refusal(x: Tensor, cell: int) -> str | None:
    if cell > MAX_CELL:
        return f"takes cells of at most {MAX_CELL}, got {cell}"
    return _triton.refusal(x)


OPERATOR = Operator(
    _NAME,
    (
        Backend("triton", "vadfast_kernels.variance_attention.triton_impl", _triton_refusal),
        Backend("torch", "vadfast_kernels.variance_attention.torch_impl", lambda *_: None),
    ),
)


@torch.library.custom_op("vadfast::variance_attention", mutates_args=())
def _forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, cell: int, variant: str, backend: str
) -> tuple[Tensor, Tensor]:
    implementation = OPERATOR.implementation(backend, x, cell)
    with no_autocast(x):
        y, v = implementation.forward(x, weight, bias, cell, variant)
    return y, v


@_forward.register_fake
def _(
    x: Tensor, weight: Tensor, bias: Tensor | None, cell: int, variant: str, backend: str
) -> tuple[Tensor, Tensor]:
    b, _, h, w = x.shape
    return torch.empty_like(x), x.new_empty((b, (h // cell) * (w // cell)), dtype=wide(x))


@torch.library.custom_op("vadfast::variance_attention_backward", mutates_args=())
def _backward(
    x: Tensor, weight: Tensor, bias: Tensor | None, v: Tensor, dy: Tensor, cell: int,
    variant: str, backend: str,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    implementation = OPERATOR.implementation(backend, x, cell)
    with no_autocast(x):
        dx, dweight, dbias = implementation.backward(x, weight, bias, v, dy, cell, variant)
    return dx, dweight, dbias


@_backward.register_fake
def _(
    x: Tensor, weight: Tensor, bias: Tensor | None, v: Tensor, dy: Tensor, cell: int,
    variant: str, backend: str,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    # An operator returns tensors: without a bias its gradient is there all the same, empty.
    dbias = weight.new_empty(0 if bias is None else len(bias))
    return torch.empty_like(x), weight.new_empty(weight.shape), dbias


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, weight, bias, ctx.cell, ctx.variant, ctx.backend = inputs
    ctx.save_for_backward(x, weight, bias, output[1])
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)  # zeros for v, which nobody would read, are a launch


def _differentiate(ctx: Any, dy: Tensor | None, _: None) -> tuple[Any, ...]:
    if dy is None:
        return (None,) * 6
    bias = ctx.saved_tensors[2]
    dx, dweight, dbias = torch.ops.vadfast.variance_attention_backward(
        *ctx.saved_tensors, dy, ctx.cell, ctx.variant, ctx.backend
    )
    return dx, dweight, None if bias is None else dbias, None, None, None


_forward.register_autograd(_differentiate, setup_context=_setup_context)
