r"""Criss-cross attention: every position attends to its own row and column.

For a position p = (h, w), let Omega(p) be the H + W - 1 positions that share its row or its column, p itself counted once::

    s[p, u]  =  q[p] . k[u]                             for u in Omega(p)
    a[p, u]  =  exp(s[p, u]) / sum_u' exp(s[p, u'])
    y[p]     =  sum_u a[p, u] * v[u]

With ``affinity="cosine"`` q and k are divided by their length first (at least 1e-6).

Source: Huang et al., "CCNet: Criss-Cross Attention for Semantic Segmentation", ICCV 2019, section 3.2. Same result as
``cc_attention/functions.py`` of the authors' code, which keeps the centre out of the column with -inf on its diagonal. There is
no 1/sqrt(D): neither the paper nor that code has one. Projections, the gain gamma and the residual are the layer's.

Shapes (any strides; B batch, D query channels, C value channels)

    q, k    [B, D, H, W]
    v       [B, C, H, W]
    y       [B, C, H, W]    channels last in memory, dtype and device of v

q, k and v may be slices of one fused projection. A tensor whose channels are not next to each other in memory is copied once.

Numbers
    dtype       float32, float16 or bfloat16, the same for q, k and v; float64 on the backend ``torch``.
                Under autocast all three are cast to its dtype.
    arithmetic  scores, softmax and sums in float32 at least; y is rounded once by triton, products of weights and values are
                in the dtype of v.
    float32     products follow ``torch.set_float32_matmul_precision``.
    not finite  a NaN or infinity reaches the positions that attend to it, as in eager.
    memory      O(B H W (D + C)); eager needs O(B H W (H + W)) more.
    gradient    to q, k and v; no second derivative.
    repeatable  bit for bit, forward and backward, on one device (a CPU: with one number of threads): no atomics.

Backends, in the order that ``backend="auto"`` tries them

    triton      CUDA of capability 8.0, D <= 128, images of up to 2^30 elements    triton_impl.py
    native      CPU, float32, forward (its gradient is torch's)                    native_impl.py
    torch       any device                                                         torch_impl.py

Raises:
    ValueError    wrong rank; shapes that do not agree; an empty tensor; an unknown affinity or backend.
    TypeError     dtypes or devices differ, or are not listed above.
    BackendError  the named backend cannot run; the message says why.

Example:
    >>> q = k = torch.zeros(1, 8, 3, 4)              # equal scores: a plain mean
    >>> v = torch.arange(12.0).reshape(1, 1, 3, 4)
    >>> criss_cross_attention(q, k, v)[0, 0, 0, 0]   # mean of 0 1 2 3 (row), 4 8 (column)
    tensor(3.)
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from vadfast_kernels import _native, _triton
from vadfast_kernels._dtypes import FLOATS, autocast_dtype, wide
from vadfast_kernels._op import Backend, Operator
from vadfast_kernels.criss_cross_attention.layout import channels_first

MAX_QUERY_CHANNELS = 128  # a tile of queries and one of keys stay in registers
# An index within an image is 32 bits wide; half of it, as a gradient may come as a slice of something wider.
MAX_REACH = 1 << 30
AFFINITIES = ("dot", "cosine")
_NAME = "criss_cross_attention"


def criss_cross_attention(
    q: Tensor, k: Tensor, v: Tensor, *, affinity: str = "dot", backend: str = "auto"
) -> Tensor:
    """Returns y [B, C, H, W] for q, k [B, D, H, W] and v [B, C, H, W]; the module's docstring is the contract."""
    if affinity not in AFFINITIES:
        raise ValueError(
            f"{_NAME}: affinity must be one of {', '.join(AFFINITIES)}, got {affinity!r}"
        )
    if dtype := autocast_dtype(q):
        q, k, v = q.to(dtype), k.to(dtype), v.to(dtype)
    _check(q, k, v)
    if affinity == "cosine":
        q, k = F.normalize(q, dim=1, eps=1e-6), F.normalize(k, dim=1, eps=1e-6)
    y, _ = torch.ops.vadfast.criss_cross_attention(q, k, v, backend)
    return y


def _check(q: Tensor, k: Tensor, v: Tensor) -> None:
    for name, x in (("q", q), ("k", k), ("v", v)):
        if x.dim() != 4:
            raise ValueError(f"{_NAME}: {name} must be [B, channels, H, W], got {list(x.shape)}")
        if x.dtype not in FLOATS:
            raise TypeError(
                f"{_NAME}: {name} must be float32, float16, bfloat16 or float64, got {x.dtype}"
            )
        if x.dtype != q.dtype or x.device != q.device:
            raise TypeError(
                f"{_NAME}: {name} must be {q.dtype} on {q.device} like q, got {x.dtype} on {x.device}"
            )
    if k.shape != q.shape:
        raise ValueError(f"{_NAME}: k must be {list(q.shape)} like q, got {list(k.shape)}")
    if v.shape[0] != q.shape[0] or v.shape[2:] != q.shape[2:]:
        wanted = [q.shape[0], "C", *q.shape[2:]]
        raise ValueError(f"{_NAME}: v must be {wanted} like q, got {list(v.shape)}")
    if q.numel() == 0 or v.numel() == 0:
        raise ValueError(
            f"{_NAME}: q and v must not be empty, got {list(q.shape)} and {list(v.shape)}"
        )


def _triton_refusal(q: Tensor, k: Tensor, v: Tensor) -> str | None:
    if q.shape[1] > MAX_QUERY_CHANNELS:
        return f"takes at most {MAX_QUERY_CHANNELS} query channels, got {q.shape[1]}"
    reach = max(_reach(x) for x in (q, k, v))
    if reach > MAX_REACH:
        return f"takes images that reach over at most {MAX_REACH} elements, got {reach}"
    return _triton.refusal(q)


def _native_refusal(q: Tensor, k: Tensor, v: Tensor) -> str | None:
    if q.device.type != "cpu":
        return f"needs a CPU tensor, got one on {q.device.type}"
    if q.dtype != torch.float32:
        return f"computes in float32, got {q.dtype}"
    return _native.refusal()


def _reach(x: Tensor) -> int:
    """Elements from the first to the last of an image, as it lies or as its copy would."""
    _, c, h, w = x.shape
    return max(c * h * w, (h - 1) * x.stride(2), (w - 1) * x.stride(3))


def sample(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Returns the arguments of a typical call: APN's second level, in little."""
    return tuple(torch.zeros(1, c, 4, 4, device=device, dtype=dtype) for c in (16, 16, 128))


OPERATOR = Operator(
    _NAME,
    (
        Backend("triton", "vadfast_kernels.criss_cross_attention.triton_impl", _triton_refusal),
        Backend("native", "vadfast_kernels.criss_cross_attention.native_impl", _native_refusal),
        Backend("torch", "vadfast_kernels.criss_cross_attention.torch_impl", lambda *_: None),
    ),
)


@torch.library.custom_op("vadfast::criss_cross_attention", mutates_args=())
def _forward(q: Tensor, k: Tensor, v: Tensor, backend: str) -> tuple[Tensor, Tensor]:
    """Returns y, and the softmax's state for the gradient: the largest score in the backend's units, and the sum of weights under it."""
    y, state = OPERATOR.implementation(backend, q, k, v).forward(q, k, v)
    return y, state


@_forward.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, backend: str) -> tuple[Tensor, Tensor]:
    b, _, h, w = q.shape
    return _like(v), q.new_empty((b, h, w, 2), dtype=wide(v))


@torch.library.custom_op("vadfast::criss_cross_attention_backward", mutates_args=())
def _backward(
    q: Tensor, k: Tensor, v: Tensor, y: Tensor, state: Tensor, dy: Tensor, backend: str
) -> tuple[Tensor, Tensor, Tensor]:
    implementation = OPERATOR.implementation(backend, q, k, v)
    dq, dk, dv = implementation.backward(q, k, v, y, state, dy)
    return dq, dk, dv


@_backward.register_fake
def _(
    q: Tensor, k: Tensor, v: Tensor, y: Tensor, state: Tensor, dy: Tensor, backend: str
) -> tuple[Tensor, Tensor, Tensor]:
    return _like(q), _like(k), _like(v)


def _like(x: Tensor) -> Tensor:
    """What backends return: the shape of ``x``, channels last in memory."""
    b, c, h, w = x.shape
    return channels_first(x.new_empty((b, h, w, c)))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    q, k, v, ctx.backend = inputs
    y, state = output
    ctx.save_for_backward(q, k, v, y, state)
    ctx.mark_non_differentiable(state)


def _differentiate(ctx: Any, dy: Tensor, _: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
    dq, dk, dv = torch.ops.vadfast.criss_cross_attention_backward(
        *ctx.saved_tensors, dy, ctx.backend
    )
    return dq, dk, dv, None


_forward.register_autograd(_differentiate, setup_context=_setup_context)
