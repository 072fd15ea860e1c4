r"""APN's prototype attention: an image's positions are summed into M prototypes, and every position is answered from them.

For the positions n of an image, with M rows W_m of a weight::

    w[n, m]  =  softmax over n of  z[n] . W[m]
    p[m]     =  u[m] / |u[m]|,                 u[m] = sum_n w[n, m] z[n]
    beta[n]  =  softmax over m of  z[n] . p[m]
    y[n]     =  r[n] / |r[n]| + z[n],          r[n] = sum_m beta[n, m] p[m]

and what the training losses and the anomaly score are made of, from the same pass over z::

    compactness[n]  =  |z[n] - p[m*]|^2,  m* = argmax over m of z[n] . p[m], the first where several are equal
    diversity       =  2 / (M (M - 1)) sum over m < m' of max(0, 1 - |p[m] - p[m']|^2);  0 for one prototype

Lengths are at least 1e-12. Nothing is averaged over the batch. The mean of ``compactness`` over n is the loss L_c of an image; the
released code and its score average over C as well, so divide by C for those.

Source: Hu et al., "Normal learning in videos with attention prototype network", eq. 1, 2, 7 and 8, and its released code. Eq. 7 has
lost the square and the choice of m*, eq. 8 the hinge; both are read as in the method that it builds on (Lv et al., "Learning normal
dynamics in videos with meta prototype network", CVPR 2021). The covariance term and SSIM are functions of p and of images: not here.

Shapes (any strides; B batch, N positions, C channels, M prototypes)

    z            [B, N, C]    positions; APN's are L2-normalised, this operator takes them as they come
    weight       [M, C]
    y            [B, N, C]    contiguous, dtype and device of z
    p            [B, M, C]    float32 (float64 for float64), as are the next two
    compactness  [B, N]
    diversity    [B]

Channels that are not next to each other in memory (an image that is not channels last) are copied once.

Two identities make the gradient cheap. With G = p p^T, |r|^2 = beta G beta^T, so neither r nor its gradient exists [N, C]: all that
is between z, dy and dz has M numbers a position. And the gradient of a normalised vector is orthogonal to it, so the sums that a
softmax's gradient subtracts are 0 here, for beta as for w, but for round-off, which the gradient of W takes out at the end.

Numbers
    dtype       float32, float16 or bfloat16, the same for z and weight; float64 on the backend ``torch``.
                Under autocast both are cast to its dtype.
    arithmetic  scores, softmax, sums and lengths in float32 at least; y is rounded once.
    digits      differences z - p* are squared, and weighted in the gradient, themselves: |z|^2 - 2 z . p* + |p*|^2 would lose what is left
                where positions lie on their prototypes, as training has it.
    float32     products follow ``torch.set_float32_matmul_precision``; for the halves the triton backend's are TF32.
    not finite  a NaN or infinity in an image reaches all of that image, and no other.
    memory      O(B N C) for y alone, and O(B N) beyond it; eager needs O(B N M C), or O(B N (M + C)) by batched products.
    traffic     z is read twice forward, z and dy twice backward; what a tile reads again is in the cache.
    gradient    to z and weight, from all four results; no second derivative.
    repeatable  bit for bit, forward and backward, on one device: no atomics.

Backends, in the order that ``backend="auto"`` tries them

    triton      CUDA of capability 8.0, C <= 256, M <= 32    triton_impl.py
    torch       any device                                   torch_impl.py

Raises:
    ValueError    wrong rank; C differs; an empty tensor; an unknown backend.
    TypeError     dtypes or devices differ, or are not listed above.
    BackendError  the named backend cannot run; the message says why.

Example:
    >>> z = torch.eye(2).unsqueeze(0)                # two positions, one along either axis
    >>> found = prototype_attention(z, torch.zeros(1, 2))
    >>> found.p                                      # equal weights: their mean, of length 1
    tensor([[[0.7071, 0.7071]]])
    >>> found.y[0, 0]                                # the only prototype, plus z
    tensor([1.7071, 0.7071])
    >>> found.compactness                            # 2 - 2 cos 45 degrees
    tensor([[0.5858, 0.5858]])
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from vadfast_kernels import _triton
from vadfast_kernels._dtypes import FLOATS, autocast_dtype, no_autocast, wide
from vadfast_kernels._op import Backend, Operator

MAX_CHANNELS = 256  # one program adds up all parts of a prototype
MAX_PROTOTYPES = 32  # scores of a tile of positions with all prototypes stay in registers: with 64 the gradient spilled
EPS = 1e-12  # of lengths
_NAME = "prototype_attention"


class PrototypeAttention(NamedTuple):
    """What ``prototype_attention`` returns."""

    y: Tensor  # [B, N, C]
    p: Tensor  # [B, M, C]
    compactness: Tensor  # [B, N]
    diversity: Tensor  # [B]


def prototype_attention(z: Tensor, weight: Tensor, *, backend: str = "auto") -> PrototypeAttention:
    """Returns y, p, compactness and diversity for z [B, N, C] and weight [M, C]; the module's docstring is the contract."""
    if dtype := autocast_dtype(z):
        z, weight = z.to(dtype), weight.to(dtype)
    _check(z, weight)
    y, p, compactness, _, _ = torch.ops.vadfast.prototype_attention(z, weight, backend)
    return PrototypeAttention(y, p, compactness, _diversity(p))


def _diversity(p: Tensor) -> Tensor:
    """The hinge over pairs of prototypes [B]: M^2 numbers, so autograd does its gradient."""
    m = p.shape[1]
    first, second = torch.triu_indices(m, m, offset=1, device=p.device)
    between = (p[:, first] - p[:, second]).square().sum(dim=-1)
    return (1 - between).clamp_min(0).sum(dim=-1) / max(1, m * (m - 1) // 2)


def _check(z: Tensor, weight: Tensor) -> None:
    if z.dim() != 3 or z.numel() == 0:
        raise ValueError(f"{_NAME}: z must be [B, N, C] and not empty, got {list(z.shape)}")
    if z.dtype not in FLOATS:
        raise TypeError(f"{_NAME}: z must be float32, float16, bfloat16 or float64, got {z.dtype}")
    if weight.dtype != z.dtype or weight.device != z.device:
        raise TypeError(
            f"{_NAME}: weight must be {z.dtype} on {z.device} like z, got {weight.dtype} on {weight.device}"
        )
    if weight.dim() != 2 or weight.shape[1] != z.shape[2] or weight.numel() == 0:
        raise ValueError(
            f"{_NAME}: weight must be [M, {z.shape[2]}] as z is, got {list(weight.shape)}"
        )


def sample(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Returns the arguments of a typical call: APN's unit, in little."""
    return tuple(
        torch.zeros(*shape, device=device, dtype=dtype) for shape in ((1, 16, 128), (10, 128))
    )


def _triton_refusal(z: Tensor, weight: Tensor) -> str | None:
    if z.shape[2] > MAX_CHANNELS:
        return f"takes at most {MAX_CHANNELS} channels, got {z.shape[2]}"
    if len(weight) > MAX_PROTOTYPES:
        return f"takes at most {MAX_PROTOTYPES} prototypes, got {len(weight)}"
    return _triton.refusal(z)


OPERATOR = Operator(
    _NAME,
    (
        Backend("triton", "vadfast_kernels.prototype_attention.triton_impl", _triton_refusal),
        Backend("torch", "vadfast_kernels.prototype_attention.torch_impl", lambda *_: None),
    ),
)


@torch.library.custom_op("vadfast::prototype_attention", mutates_args=())
def _forward(
    z: Tensor, weight: Tensor, backend: str
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    implementation = OPERATOR.implementation(backend, z, weight)
    with no_autocast(z):
        y, p, compactness, lse, length = implementation.forward(z, weight)
    return y, p, compactness, lse, length


@_forward.register_fake
def _(z: Tensor, weight: Tensor, backend: str) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    (b, n, c), m = z.shape, weight.shape[0]
    shapes = ((b, m, c), (b, n), (b, m), (b, m))
    return (z.new_empty((b, n, c)), *(z.new_empty(s, dtype=wide(z)) for s in shapes))  # type: ignore[return-value]


@torch.library.custom_op("vadfast::prototype_attention_backward", mutates_args=())
def _backward(
    z: Tensor, weight: Tensor, p: Tensor, lse: Tensor, length: Tensor,
    dy: Tensor, dp: Tensor, dcompactness: Tensor, backend: str,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    implementation = OPERATOR.implementation(backend, z, weight)
    with no_autocast(z):
        dz, dweight = implementation.backward(z, weight, p, lse, length, dy, dp, dcompactness)
    return dz, dweight


@_backward.register_fake
def _(
    z: Tensor, weight: Tensor, p: Tensor, lse: Tensor, length: Tensor,
    dy: Tensor, dp: Tensor, dcompactness: Tensor, backend: str,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    return z.new_empty(z.shape), weight.new_empty(weight.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    z, weight, ctx.backend = inputs
    _, p, _, lse, length = output
    ctx.save_for_backward(z, weight, p, lse, length)
    ctx.mark_non_differentiable(lse, length)
    ctx.set_materialize_grads(False)  # zeros for those, which nobody would read, are launches


def _differentiate(
    ctx: Any, dy: Tensor | None, dp: Tensor | None, dcompactness: Tensor | None, *_: None
) -> tuple[Tensor | None, Tensor | None, None]:
    if dy is None and dp is None and dcompactness is None:
        return None, None, None
    z, p = ctx.saved_tensors[0], ctx.saved_tensors[2]
    dz, dweight = torch.ops.vadfast.prototype_attention_backward(
        *ctx.saved_tensors,
        z.new_zeros(z.shape) if dy is None else dy,
        torch.zeros_like(p) if dp is None else dp,
        p.new_zeros(z.shape[:2]) if dcompactness is None else dcompactness,
        ctx.backend,
    )
    return dz, dweight, None


_forward.register_autograd(_differentiate, setup_context=_setup_context)
