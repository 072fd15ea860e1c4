r"""STA's attention: criss-cross attention over a feature matrix, by a cosine of affine maps of its single channel.

For an element p = (n, c) of f, Omega(p) is its row and its column, p itself counted once; with D-vectors w and b::

    q[p] = f[p] w_q + b_q,   k[p] = f[p] w_k + b_k
    s[p, u]  =  q[p] . k[u] / (|q[p]| |k[u]|)                       for u in Omega(p)
    y[p]     =  sum_u exp(s[p, u]) f[u] / sum_u exp(s[p, u])  +  f[p]

applied ``recurrence`` times with the same weights.

Source: Liu et al., "Learning task-specific representation for video anomaly detection with spatial-temporal attention", ICASSP
2022, eq. 1 to 3, read as the softmax over keys that the text describes: eq. 1 gives 0 to what is off the cross where -inf is
meant, and eq. 2 sums over queries.

Shapes (B bags, N segments, C features, D channels of q and k)

    f               [B, N, C]
    wq, bq, wk, bk  [D]
    y               [B, N, C]    contiguous, dtype and device of f

Numbers
    dtype       float32 or float64; under autocast the work stays in float32, because angles lose what half precision cannot hold.
    arithmetic  every exp(s), and its derivatives by the angles of q and k, within ``max_error`` in exact arithmetic; the default
                1e-7 is float32 round-off (9 harmonics). ``max_error=0`` asks for exp itself.
    time        O(B N C n) with n harmonics; O(B N C (N + C)) with max_error=0; the eager form takes O(B N C (N + C) D).
    memory      O(B N C + N C n) in torch, O(B N C + B C n) in triton, O(B N C + C n) in native, O(B N C) with max_error=0; the
                eager form holds several tensors of B N C (N + C).
    gradient    to f and the weights; no second derivative. Those of the weights are sums that nearly cancel: in float32 they
                keep four digits in eager. native, and torch on the CPU, compute in float64; triton centres f, and adds up in
                float64 what float32 summed of a few hundred elements.
    degenerate  where f w + b is exactly 0 the reference takes the cosine 0, this operator the angle 0, and the gradient 0.
    not finite  a NaN or infinity in a bag reaches every element of its row and column, as in eager.
    repeatable  bit for bit on one device: no atomics; native with any number of threads.
    launches    triton: 3 for a recurrence, 1 with max_error=0, and 1 for all that is made of the weights; where these are trained,
                PyTorch differentiates that, in some 80 launches of a few numbers.

Backends, in the order that ``backend="auto"`` tries them

    triton      CUDA of capability 8.0, float32; max_error of 0, or of 1e-10 at least    triton_impl.py
    native      CPU, float32; max_error above 0                                           native_impl.py
    torch       any device; max_error above 0                                             torch_impl.py
    reference   by name: the formula as it stands, O(N C (N + C)) memory, exp itself whatever max_error is

Raises:
    ValueError    f is not [B, N, C] or empty; a weight is not [D]; recurrence < 1; max_error < 0; an unknown backend.
    TypeError     dtypes or devices differ, or are not listed above.
    BackendError  the named backend cannot run, or none can, as with max_error=0 on a CPU; the message says why.

Example:
    >>> f = torch.ones(1, 2, 3)                      # all alike: the mean is 1, plus f itself
    >>> w, b = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    >>> sta_attention(f, w, b, w, b, recurrence=1)[0, 0]
    tensor([2., 2., 2.])
"""

from typing import Any

import torch
from torch import Tensor

from vadfast_kernels import _native, _triton
from vadfast_kernels._dtypes import no_autocast
from vadfast_kernels._op import Backend, Operator
from vadfast_kernels.sta_attention import circle, reference
from vadfast_kernels.sta_attention.tuned import MAX_HARMONICS

MAX_ERROR = 1e-7
_DTYPES = (torch.float32, torch.float64)
_NAME = "sta_attention"
_EXPANDS = "expands exp, and takes max_error above 0 (backend 'reference' is exact)"


def sta_attention(
    f: Tensor, wq: Tensor, bq: Tensor, wk: Tensor, bk: Tensor, *,
    recurrence: int = 2, max_error: float = MAX_ERROR, backend: str = "auto",
) -> Tensor:  # fmt: skip
    """Returns y [B, N, C] for f [B, N, C]; the module's docstring is the contract."""
    if recurrence < 1:
        raise ValueError(f"{_NAME}: recurrence must be at least 1, got {recurrence}")
    if not max_error >= 0:
        raise ValueError(f"{_NAME}: max_error must be at least 0, got {max_error}")
    _check(f, wq, bq, wk, bk)
    with no_autocast(f):
        if backend == "reference":
            return reference.sta_attention(f, wq, bq, wk, bk, recurrence=recurrence)
        n_harmonics = circle.harmonics_for(max_error) if max_error else 0
        if torch.is_grad_enabled() and any(x.requires_grad for x in (wq, bq, wk, bk)):
            planes, kernel = circle.prepared(wq, bq, wk, bk, n_harmonics)
        else:
            planes, kernel = _prepare(wq, bq, wk, bk, n_harmonics, backend)
        for _ in range(recurrence):
            f = torch.ops.vadfast.sta_attention(f, planes, kernel, backend)
        return f


def _check(f: Tensor, *weights: Tensor) -> None:
    if f.dim() != 3 or f.numel() == 0:
        raise ValueError(f"{_NAME}: f must be [B, N, C] and not empty, got {list(f.shape)}")
    if f.dtype not in _DTYPES:
        raise TypeError(f"{_NAME}: f must be float32 or float64, got {f.dtype}")
    for name, x in zip(("wq", "bq", "wk", "bk"), weights, strict=True):
        if x.dtype != f.dtype or x.device != f.device:
            raise TypeError(
                f"{_NAME}: {name} must be {f.dtype} on {f.device} like f, got {x.dtype} on {x.device}"
            )
        if x.dim() != 1 or x.shape != weights[0].shape or x.numel() == 0:
            raise ValueError(f"{_NAME}: {name} must be [D] like wq, got {list(x.shape)}")


def _triton_refusal(f: Tensor, n_harmonics: int) -> str | None:
    if f.dtype != torch.float32:
        return f"computes in float32, got {f.dtype}"
    if n_harmonics > MAX_HARMONICS:
        return f"expands exp to at most {MAX_HARMONICS} harmonics, and this max_error takes {n_harmonics}"
    return _triton.refusal(f)


def _native_refusal(f: Tensor, n_harmonics: int) -> str | None:
    if f.device.type != "cpu":
        return f"needs a CPU tensor, got one on {f.device.type}"
    if f.dtype != torch.float32:
        return f"computes in float32, got {f.dtype}"
    if n_harmonics == 0:
        return _EXPANDS
    return _native.refusal()


def _torch_refusal(f: Tensor, n_harmonics: int) -> str | None:
    if f.dtype not in _DTYPES:
        return f"computes in float32 and float64, got {f.dtype}"
    if n_harmonics == 0:
        return _EXPANDS
    return None


def sample(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, int]:
    """Returns what decides about the backends in a typical call."""
    f = torch.zeros((1, 32, 8), device=device, dtype=dtype)
    return f, circle.harmonics_for(MAX_ERROR)


OPERATOR = Operator(
    _NAME,
    (
        Backend("triton", "vadfast_kernels.sta_attention.triton_impl", _triton_refusal),
        Backend("native", "vadfast_kernels.sta_attention.native_impl", _native_refusal),
        Backend("torch", "vadfast_kernels.sta_attention.torch_impl", _torch_refusal),
    ),
)


# The weights alone decide what this returns. Where they are trained, ``circle.prepared`` itself is differentiated.
@torch.library.custom_op("vadfast::sta_attention_prepare", mutates_args=())
def _prepare(
    wq: Tensor, bq: Tensor, wk: Tensor, bk: Tensor, n_harmonics: int, backend: str
) -> tuple[Tensor, Tensor]:
    implementation = OPERATOR.implementation(backend, wq, n_harmonics)
    planes, kernel = implementation.prepare(wq, bq, wk, bk, n_harmonics)
    return planes, kernel


@_prepare.register_fake
def _(
    wq: Tensor, bq: Tensor, wk: Tensor, bk: Tensor, n_harmonics: int, backend: str
) -> tuple[Tensor, Tensor]:
    side = 2 * n_harmonics + 1 if n_harmonics else 0
    return wq.new_empty(10), wq.new_empty((side, side))


@torch.library.custom_op("vadfast::sta_attention", mutates_args=())
def _forward(f: Tensor, planes: Tensor, kernel: Tensor, backend: str) -> Tensor:
    y: Tensor = OPERATOR.implementation(backend, f, len(kernel) // 2).forward(f, planes, kernel)
    return y


@_forward.register_fake
def _(f: Tensor, planes: Tensor, kernel: Tensor, backend: str) -> Tensor:
    return f.new_empty(f.shape)


@torch.library.custom_op("vadfast::sta_attention_backward", mutates_args=())
def _backward(
    f: Tensor, planes: Tensor, kernel: Tensor, dy: Tensor, backend: str
) -> tuple[Tensor, Tensor, Tensor]:
    implementation = OPERATOR.implementation(backend, f, len(kernel) // 2)
    df, dplanes, dkernel = implementation.backward(f, planes, kernel, dy)
    return df, dplanes, dkernel


@_backward.register_fake
def _(
    f: Tensor, planes: Tensor, kernel: Tensor, dy: Tensor, backend: str
) -> tuple[Tensor, Tensor, Tensor]:
    return f.new_empty(f.shape), planes.new_empty(planes.shape), kernel.new_empty(kernel.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.backend = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx: Any, dy: Tensor) -> tuple[Any, ...]:
    grads = torch.ops.vadfast.sta_attention_backward(*ctx.saved_tensors, dy, ctx.backend)
    return (*grads, None)


_forward.register_autograd(_differentiate, setup_context=_setup_context)
