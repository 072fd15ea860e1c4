r"""STA's mutual cosine embedding loss: segments of a normal bag are to be alike, those of an abnormal bag are not.

For the segments f_1 to f_N of a bag, and Avg the mean over all pairs i < j of all bags::

    cos_ij  =  f_i . f_j / (|f_i| |f_j|)
    loss    =  1  -  Avg(cos_ij of normal bags)  +  Avg(g(cos_ij) of abnormal bags)
    g(c)    =  min(c, margin)             pairs="min"
               max(0, c - margin)         pairs="hinge"

Source: Liu et al., "Learning task-specific representation for video anomaly detection with spatial-temporal attention", ICASSP
2022, eq. 4, margin 0.4. Eq. 4 prints the minimum: pairs above the margin are taken for two normal segments and ignored. ``"hinge"``
is the usual cosine embedding loss, which ignores the pairs below it.

Features after a ReLU and STA's averages all lie within one cone: their cosines are about 0.8, all of them above the margin, and the
abnormal term of the paper is then constant. ``active`` says how many of the abnormal pairs have a gradient; ``centred=True``
(not in the paper) takes the mean over a bag's segments off before the cosines and brings the term to life.

Shapes (any strides; bags and segments of the two may differ in number)

    normal    [B, N, C]     N at least 2
    abnormal  [B, N, C]     N at least 2
    loss      scalar
    active    scalar        share of the abnormal pairs with a gradient, in [0, 1]; it has none itself

Numbers
    dtype       float32, float16, bfloat16 or float64, each tensor its own; loss and active are float32, or float64 where an input
                is. Autocast changes nothing.
    arithmetic  products and sums in float32 at least; float32 products follow ``torch.set_float32_matmul_precision``.
    range       lengths between 1e-18 and 1e18: their squares must be float32 numbers.
    memory      O(B N^2) beyond the inputs; the halves are copied to float32. Eager's broadcast takes B N^2 C.
    gradient    to normal and abnormal; no second derivative. A cosine equal to the margin counts as active, as in torch.clamp.
    zero        a vector of length 0 has the cosine 0 with every other, and the gradient 0. With ``centred=True`` a vector shorter than
                8 roundings of the bag's mean counts as one: segments that are all the same differ from their mean by round-off.
    not finite  a NaN or infinity in a segment makes the loss NaN.
    repeatable  bit for bit, forward and backward, on one device: no atomics.

Backends

    torch       any device    torch_impl.py

Only the cosines and their gradient are an operator of their own: what is on top is B N^2 numbers, and autograd's gradient of it is
as good as any. Of the product itself autograd takes two products and adds them, where one is enough: half the time on a CPU.

No Triton kernel, by this count (30 + 30 bags of 32 x 2048, float32; MB = 10^6 bytes, each operation reading its inputs and writing its
output once; a product of f with itself reads it twice)

                            forward    with backward
    least                      16 MB            47 MB
    this form                  33 MB            69 MB
    eager, normalised          80 MB           522 MB
    eager, pair by pair     1,558 MB         3,980 MB

Raises:
    ValueError    a bag is not [B, N, C], is empty, or has one segment; an unknown ``pairs`` or backend; a margin not within [-1, 1].
    TypeError     a dtype not listed above; devices differ.

Example:
    >>> normal = torch.tensor([[[1.0, 0.0], [2.0, 0.0]]])      # alike: 1 - 1
    >>> abnormal = torch.tensor([[[1.0, 0.0], [0.0, 3.0]]])    # at right angles: below the margin, so there is a gradient
    >>> mutual_cosine_embedding(normal, abnormal)
    MutualCosineEmbedding(loss=tensor(0.), active=tensor(1.))
    >>> mutual_cosine_embedding(normal, normal).loss           # above the margin: 0.4, and none
    tensor(0.4000)
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from vadfast_kernels._dtypes import FLOATS, no_autocast, wide
from vadfast_kernels._op import Backend, Operator

PAIRS = ("min", "hinge")
_NAME = "mutual_cosine_embedding"
_ROUNDINGS = (
    8  # of the mean: what is left of equal segments, when their mean is taken off, was at most 3
)


class MutualCosineEmbedding(NamedTuple):
    """What ``mutual_cosine_embedding`` returns."""

    loss: Tensor
    active: Tensor


def mutual_cosine_embedding(
    normal: Tensor, abnormal: Tensor, *,
    margin: float = 0.4, pairs: str = "min", centred: bool = False, backend: str = "auto",
) -> MutualCosineEmbedding:  # fmt: skip
    """Returns loss and active for bags [B, N, C]; the module's docstring is the contract."""
    if pairs not in PAIRS:
        raise ValueError(f"{_NAME}: pairs must be one of {', '.join(PAIRS)}, got {pairs!r}")
    if not -1 <= margin <= 1:
        raise ValueError(f"{_NAME}: margin must be within [-1, 1] like a cosine, got {margin}")
    _check(normal, abnormal)
    with no_autocast(normal):
        alike, unlike = (_cosines(f, centred, backend) for f in (normal, abnormal))
        if pairs == "min":
            kept, is_active = unlike.clamp_max(margin), unlike <= margin
        else:
            kept, is_active = (unlike - margin).clamp_min(0), unlike >= margin
        loss = 1 - _mean(alike) + _mean(kept)
        return MutualCosineEmbedding(loss, _mean(is_active.to(unlike.dtype)).to(loss.dtype))


def _cosines(f: Tensor, centred: bool, backend: str) -> Tensor:
    """The cosines of all segments of each bag [B, N, N]."""
    shortest = f.new_zeros(len(f), dtype=wide(f))
    if centred:
        f = f.to(wide(f))
        mean = f.mean(dim=1, keepdim=True)
        f = f - mean
        length = torch.linalg.vector_norm(mean.detach(), dim=(1, 2))
        shortest = _ROUNDINGS * torch.finfo(f.dtype).eps * length
    cosines, _ = torch.ops.vadfast.pair_cosines(f, shortest, backend)
    return cosines


def _mean(x: Tensor) -> Tensor:
    """Over the pairs i < j of x [B, N, N]."""
    b, n, _ = x.shape
    return x.triu(1).sum() / (b * n * (n - 1) / 2)


def _check(normal: Tensor, abnormal: Tensor) -> None:
    for name, f in (("normal", normal), ("abnormal", abnormal)):
        if f.dim() != 3 or f.numel() == 0 or f.shape[1] < 2:
            raise ValueError(
                f"{_NAME}: {name} must be [B, N, C] with N at least 2 and not empty, got {list(f.shape)}"
            )
        if f.dtype not in FLOATS:
            raise TypeError(
                f"{_NAME}: {name} must be float32, float16, bfloat16 or float64, got {f.dtype}"
            )
    if abnormal.device != normal.device:
        raise TypeError(
            f"{_NAME}: abnormal must be on {normal.device} like normal, got one on {abnormal.device}"
        )


def sample(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Returns what decides about the backends in a typical call."""
    return (torch.zeros(1, 32, 8, device=device, dtype=dtype),)


OPERATOR = Operator(
    _NAME,
    (Backend("torch", "vadfast_kernels.mutual_cosine_embedding.torch_impl", lambda *_: None),),
)


@torch.library.custom_op("vadfast::pair_cosines", mutates_args=())
def _forward(f: Tensor, shortest: Tensor, backend: str) -> tuple[Tensor, Tensor]:
    """Returns the cosines, and one over the lengths."""
    cosines, inverse = OPERATOR.implementation(backend, f).forward(f, shortest)
    return cosines, inverse


@_forward.register_fake
def _(f: Tensor, shortest: Tensor, backend: str) -> tuple[Tensor, Tensor]:
    b, n, _ = f.shape
    return f.new_empty((b, n, n), dtype=wide(f)), f.new_empty((b, n), dtype=wide(f))


@torch.library.custom_op("vadfast::pair_cosines_backward", mutates_args=())
def _backward(
    f: Tensor, cosines: Tensor, inverse: Tensor, dcosines: Tensor, backend: str
) -> Tensor:
    implementation = OPERATOR.implementation(backend, f)
    with no_autocast(f):
        df: Tensor = implementation.backward(f, cosines, inverse, dcosines)
    return df


@_backward.register_fake
def _(f: Tensor, cosines: Tensor, inverse: Tensor, dcosines: Tensor, backend: str) -> Tensor:
    return f.new_empty(f.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    f, _, ctx.backend = inputs
    ctx.save_for_backward(f, *output)
    ctx.mark_non_differentiable(output[1])


def _differentiate(ctx: Any, dcosines: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    df = torch.ops.vadfast.pair_cosines_backward(*ctx.saved_tensors, dcosines, ctx.backend)
    return df, None, None


_forward.register_autograd(_differentiate, setup_context=_setup_context)
