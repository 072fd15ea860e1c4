r"""STD's distance of every position to a set of cluster centres: a mean over the centres, weighted towards the near ones.

For a position's representation r and the centres c_1 to c_K::

    d_k   =  |r - c_k|
    D(r)  =  sum_k  exp(-alpha d_k) / sum_l exp(-alpha d_l)  d_k

D is the training loss (STD's code averages it over positions and divides by K) and, at test time, the map that multiplies the error.

Source: Chang et al., "Video anomaly detection with spatio-temporal dissociation", Pattern Recognition 2022, section 3.5, eq. 10 and
11, and the authors' code. As printed, eq. 10 has lost the minus of its exponents and squares the last factor; the code has the minus,
does not square, and takes alpha = 25. The L2 normalisation of r belongs to the network, not to this operator.

Shapes (any strides; B images, N positions, C channels, K centres; for a map [B, C, H, W] pass ``x.flatten(2).mT``, a view)

    r        [B, N, C]
    centres  [K, C]
    D        [B, N]

Numbers
    dtype       float32, float16, bfloat16 or float64, each tensor its own; D is float32, or float64 where an input is. Autocast
                changes nothing.
    arithmetic  in the dtype of D. Distances are measured from the nearest centre (torch_impl.py), so that the nearest is as exact as
                a difference, however small, and the others are within round-off of |c|. float32 products follow
                ``torch.set_float32_matmul_precision``.
    range       lengths below 1e18: squares must not overflow float32.
    memory      O(B N K + K^2); the eager form holds B N K C, and its gradient several of them. K^2 C work for the centres' own
                distances: meant for hundreds of centres, not for tens of thousands.
    gradient    to r and centres; no second derivative. Where r is exactly on c_k, d_k has the derivative 0, as in eager.
    layout      the gradient of r has its memory format.
    ties        between equally near centres change nothing: they share their weight.
    not finite  a NaN or infinity in a position makes its D NaN, and no other; one in a centre makes every D NaN.
    repeatable  bit for bit, forward and backward, on one device: no atomics.

Backends

    torch       any device    torch_impl.py

The obvious product, ``torch.cdist``, cancels: in float32 its D is off by 4e-5, 4e-3 and 0.4 of itself where r is 1e-1, 1e-2 and 1e-3
from a centre (C 512, K 32), this operator's by 1e-7 at all three. Training ends there.

No Triton kernel, by this count (STD in training: B 4, N 1024, C 512, K 32, float32; MB = 10^6 bytes, each operation reading its inputs
and writing its output once)

                            forward    with backward
    least                     8.5 MB            25 MB
    this form                  74 MB           208 MB
    eager                     550 MB         3,250 MB

At 3.35 TB/s all of this form is 62 us, of a training step of 0.7 TFLOP that takes 1.5 ms were every convolution at an H100's peak in
TF32: at most 4 percent to gain, and 14 launches more than the least.

Raises:
    ValueError    wrong rank; numbers of channels differ; an empty tensor; alpha not positive and finite; an unknown backend.
    TypeError     a dtype not listed above; devices differ.

Example:
    >>> r = torch.tensor([[[3.0, 4.0], [0.0, 1.0]]])
    >>> cluster_distance(r, torch.zeros(1, 2))                                # one centre: its distance
    tensor([[5., 1.]])
    >>> cluster_distance(r, torch.tensor([[0.0, 0.0], [9.0, 9.0]]))[0, 1]     # the far one has no weight
    tensor(1.)
"""

import math
from typing import Any

import torch
from torch import Tensor

from vadfast_kernels._dtypes import FLOATS, no_autocast, wide
from vadfast_kernels._op import Backend, Operator

_NAME = "cluster_distance"


def cluster_distance(
    r: Tensor, centres: Tensor, *, alpha: float = 25.0, backend: str = "auto"
) -> Tensor:
    """Returns D [B, N] for r [B, N, C] and centres [K, C]; the module's docstring is the contract."""
    if not 0 < alpha < math.inf:
        raise ValueError(f"{_NAME}: alpha must be positive and finite, got {alpha}")
    _check(r, centres)
    out, _, _ = torch.ops.vadfast.cluster_distance(r, centres, alpha, backend)
    return out


def _check(r: Tensor, centres: Tensor) -> None:
    if r.dim() != 3 or r.numel() == 0:
        raise ValueError(f"{_NAME}: r must be [B, N, C] and not empty, got {list(r.shape)}")
    if centres.dim() != 2 or centres.shape[1] != r.shape[2] or centres.numel() == 0:
        raise ValueError(
            f"{_NAME}: centres must be [K, {r.shape[2]}] as r is, and not empty, got {list(centres.shape)}"
        )
    for name, x in (("r", r), ("centres", centres)):
        if x.dtype not in FLOATS:
            raise TypeError(
                f"{_NAME}: {name} must be float32, float16, bfloat16 or float64, got {x.dtype}"
            )
    if centres.device != r.device:
        raise TypeError(
            f"{_NAME}: centres must be on {r.device} like r, got one on {centres.device}"
        )


def sample(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Returns the arguments of a typical call: STD's, in little."""
    return tuple(
        torch.zeros(*shape, device=device, dtype=dtype) for shape in ((1, 16, 512), (32, 512))
    )


OPERATOR = Operator(
    _NAME, (Backend("torch", "vadfast_kernels.cluster_distance.torch_impl", lambda *_: None),)
)


@torch.library.custom_op("vadfast::cluster_distance", mutates_args=())
def _forward(
    r: Tensor, centres: Tensor, alpha: float, backend: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns D, the distances and the nearest centres."""
    implementation = OPERATOR.implementation(backend, r, centres)
    with no_autocast(r):
        out, d, nearest = implementation.forward(r, centres, alpha)
    return out, d, nearest


@_forward.register_fake
def _(r: Tensor, centres: Tensor, alpha: float, backend: str) -> tuple[Tensor, Tensor, Tensor]:
    b, n, _ = r.shape
    dtype = wide(r, centres)
    d = r.new_empty((b, n, centres.shape[0]), dtype=dtype)
    return r.new_empty((b, n), dtype=dtype), d, r.new_empty((b, n), dtype=torch.int64)


@torch.library.custom_op("vadfast::cluster_distance_backward", mutates_args=())
def _backward(
    r: Tensor, centres: Tensor, d: Tensor, nearest: Tensor, dout: Tensor, alpha: float, backend: str
) -> tuple[Tensor, Tensor]:
    implementation = OPERATOR.implementation(backend, r, centres)
    with no_autocast(r):
        dr, dcentres = implementation.backward(r, centres, d, nearest, dout, alpha)
    return dr, dcentres


@_backward.register_fake
def _(
    r: Tensor, centres: Tensor, d: Tensor, nearest: Tensor, dout: Tensor, alpha: float, backend: str
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(r), centres.new_empty(centres.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    r, centres, ctx.alpha, ctx.backend = inputs
    _, d, nearest = output
    ctx.save_for_backward(r, centres, d, nearest)
    ctx.mark_non_differentiable(d, nearest)


def _differentiate(ctx: Any, dout: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    dr, dcentres = torch.ops.vadfast.cluster_distance_backward(
        *ctx.saved_tensors, dout, ctx.alpha, ctx.backend
    )
    return dr, dcentres, None, None


_forward.register_autograd(_differentiate, setup_context=_setup_context)
