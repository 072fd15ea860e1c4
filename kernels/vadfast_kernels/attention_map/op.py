r"""ADL's attention map: large where a clip moves, a constant where it does not.

For the T frames I_t of a clip, with the weights alpha of approximate rank pooling (``rank_pooling.py``)::

    M  =  sum_t alpha(t) I_t
    A  =  min(1,  |M| / max(max M - min M, eps))  +  background

max and min are over (C, H, W) of a sample. The quotient is cut at 1: where a light is switched on, M has one sign and a small range,
and the quotient would be 25 and more. Without eps = 0.02 sum_t |alpha(t)| / 2, the range that an edge of 2 % of full contrast gives, a
clip in which nothing moves would turn its sensor noise into weights near 1.

Source: Zhou et al., "Attention-Driven Loss for Anomaly Detection in Video Surveillance", IEEE TCSVT 2020, eq. 1 to 7; the cut and eps
are ours. The sum of alpha is 0 and A is a ratio, so an affine change of intensity changes nothing but what eps means.

This is the map of each clip alone. Maps of a whole film, of a data set, or from masks are made once, from frames on disk, before
training: ``vadfast.train.attention``.

Shapes (any strides)

    frames    [B, T, C, H, W]    frames [B, T, H, W, C] as a video has them: ``frames.permute(0, 1, 4, 2, 3)``, which copies nothing
    map       [B, C, H, W]       contiguous

Numbers
    dtype       uint8, counted as x / 127.5 - 1; float32, float16 or bfloat16 in [-1, 1]; float64 on the backend ``torch``. Autocast
                changes nothing.
    arithmetic  in float32; the map is float32. With float64 frames both are float64.
    memory      beyond the map one frame on the backend ``torch``, nothing on ``triton``; uint8 frames are never normalised as a clip.
    gradient    none: the map is a constant, whatever requires grad.
    not finite  a NaN makes the map of its sample NaN, an infinity does what it does in eager.
    repeatable  bit for bit on one device: no atomics.

Backends, in the order that ``backend="auto"`` tries them

    triton      CUDA of capability 8.0    triton_impl.py
    torch       any device                torch_impl.py
    (reference.py is for tests: what the other two must equal)

Raises:
    ValueError    wrong rank; an empty tensor; a clip of one frame; an unknown backend.
    TypeError     a dtype not listed above.
    BackendError  the named backend cannot run; the message says why.

Example:
    >>> frames = torch.zeros(1, 2, 1, 1, 2)
    >>> frames[0, 1, 0, 0, 0] = 0.8                # the left pixel changes, the right one does not
    >>> attention_map(frames)
    tensor([[[[1.1000, 0.1000]]]])
"""

import torch
from torch import Tensor

from vadfast_kernels import _triton
from vadfast_kernels._dtypes import FLOATS
from vadfast_kernels._op import Backend, Operator
from vadfast_kernels.attention_map.rank_pooling import least_range

_NAME = "attention_map"
_DTYPES = (torch.uint8, *FLOATS)
_UINT8_SCALE = 127.5  # x / 127.5 - 1: the 1 has no effect, because the weights sum to 0


def attention_map(frames: Tensor, *, background: float = 0.1, backend: str = "auto") -> Tensor:
    """Returns the map [B, C, H, W] of clips [B, T, C, H, W]; the module's docstring is the contract."""
    if frames.dim() != 5 or frames.numel() == 0:
        raise ValueError(
            f"{_NAME}: frames must be [B, T, C, H, W] and not empty, got {list(frames.shape)}"
        )
    if frames.shape[1] < 2:
        raise ValueError(f"{_NAME}: a clip must have at least 2 frames to show motion, got 1")
    if frames.dtype not in _DTYPES:
        raise TypeError(
            f"{_NAME}: frames must be uint8, float32, float16, bfloat16 or float64, got {frames.dtype}"
        )
    found: Tensor = torch.ops.vadfast.attention_map(frames.detach(), background, backend)
    return found


def _triton_refusal(frames: Tensor) -> str | None:
    if (
        frames.dtype == torch.uint8
    ):  # the kernel converts as it reads: what refuses float32 refuses it
        frames = frames.new_empty(0, dtype=torch.float32)
    return _triton.refusal(frames)


def sample(device: torch.device, dtype: torch.dtype) -> tuple[Tensor]:
    """Returns the argument of a typical call: a training batch in little."""
    return (torch.zeros(4, 5, 3, 8, 8, device=device, dtype=dtype),)


OPERATOR = Operator(
    _NAME,
    (
        Backend("triton", "vadfast_kernels.attention_map.triton_impl", _triton_refusal),
        Backend("torch", "vadfast_kernels.attention_map.torch_impl", lambda _: None),
    ),
)


@torch.library.custom_op("vadfast::attention_map", mutates_args=())
def _forward(frames: Tensor, background: float, backend: str) -> Tensor:
    eps = least_range(frames.shape[1])
    if frames.dtype == torch.uint8:
        eps *= _UINT8_SCALE
    found: Tensor = OPERATOR.implementation(backend, frames).forward(frames, eps, background)
    return found


@_forward.register_fake
def _(frames: Tensor, background: float, backend: str) -> Tensor:
    b, _, c, h, w = frames.shape
    dtype = torch.float64 if frames.dtype == torch.float64 else torch.float32
    return frames.new_empty((b, c, h, w), dtype=dtype)
