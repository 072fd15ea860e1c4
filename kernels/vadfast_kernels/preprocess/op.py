r"""A camera's picture in the model's size, as a torch operator; ``native.py`` is the same door without torch, and the contract in full.

    out[b]  =  cv2.resize(crop(cv2.cvtColor(picture[b])), size)        bit for bit

Source: OpenCV's ``cvtColor`` (BT.601, limited range) and ``resize(INTER_LINEAR)``, which models are trained with.

Shapes (uint8; B pictures of one size)

    picture     [B, H, W, 3] for rgb and bgr, [B, H, W] for gray, [B, 3 H / 2, W] for nv12 and i420
    out         [B, height, width, 3], RGB, contiguous, on the device of ``picture``

Numbers
    arithmetic  integers: the same bits on every backend and device.
    gradient    none: the pictures are integers.

Backends, in the order that ``backend="auto"`` tries them

    native      CPU, and CUDA where the build has it: 64 pictures a launch    native_impl.py
    torch       any device                                                    torch_impl.py

Raises:
    ValueError    a shape, size, crop or format that cannot be right; an odd size or crop of nv12 and i420.
    TypeError     something that is not uint8.
    BackendError  the named backend cannot run; the message says why.

Example:
    >>> gray = torch.tensor([[[0, 100], [200, 100]]], dtype=torch.uint8)
    >>> preprocess(gray, format="gray", size=(1, 1))
    tensor([[[[100, 100, 100]]]], dtype=torch.uint8)
"""

import torch
from torch import Tensor

from vadfast_kernels import _native
from vadfast_kernels._op import Backend, Operator

_NAME = "preprocess"
FORMATS = ("rgb", "bgr", "gray", "nv12", "i420")

Crop = tuple[int, int, int, int]


def preprocess(
    picture: Tensor,
    *,
    size: tuple[int, int],
    format: str = "rgb",
    crop: Crop | None = None,
    backend: str = "auto",
) -> Tensor:
    """Returns the pictures in the model's size; the module's docstring is the contract.

    Args:
        picture: one or several pictures of one size.
        size: height and width of the result.
        format: "rgb", "bgr", "gray", "nv12" or "i420".
        crop: the region (x, y, width, height) that is resized; None: everything.
        backend: see the module's docstring.
    """
    height, width = _check(picture, size, format)
    crop = _check_crop(crop, height, width, even=format in ("nv12", "i420"))
    return torch.ops.vadfast.preprocess(picture, list(size), format, list(crop), backend)


def _check(picture: Tensor, size: tuple[int, int], format: str) -> tuple[int, int]:
    """Returns height and width of the pictures."""
    if format not in FORMATS:
        raise ValueError(f"{_NAME}: format must be one of {', '.join(FORMATS)}, got {format!r}")
    if picture.dtype != torch.uint8:
        raise TypeError(f"{_NAME}: picture must be uint8, got {picture.dtype}")
    in_threes, planar = format in ("rgb", "bgr"), format in ("nv12", "i420")
    shape = list(picture.shape)
    if len(shape) != 3 + in_threes or picture.numel() == 0 or (in_threes and shape[3] != 3):
        wanted = "[B, H, W, 3]" if in_threes else "[B, 3 H / 2, W]" if planar else "[B, H, W]"
        raise ValueError(f"{_NAME}: picture must be {wanted} and not empty, got {shape}")
    if planar and (shape[1] % 3 or shape[2] % 2):
        raise ValueError(
            f"{_NAME}: a picture of {format} must be [B, 3 H / 2, W] with even H and W, got {shape}"
        )
    if min(size) < 1:
        raise ValueError(f"{_NAME}: size must be at least 1 x 1, got {size[0]} x {size[1]}")
    return (shape[1] // 3 * 2 if planar else shape[1]), shape[2]


def _check_crop(crop: Crop | None, height: int, width: int, *, even: bool) -> Crop:
    if crop is None:
        return 0, 0, width, height
    x, y, w, h = crop
    if min(x, y) < 0 or min(w, h) < 1 or x + w > width or y + h > height:
        raise ValueError(
            f"{_NAME}: crop must be (x, y, width, height) within {width} x {height}, got {crop}"
        )
    if even and any(n % 2 for n in crop):
        raise ValueError(f"{_NAME}: crop of nv12 and i420 must be even, got {crop}")
    return crop


def sample(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Returns the arguments of a typical call, in little; a picture is uint8 whatever ``dtype``."""
    return (torch.zeros((1, 6, 8, 3), device=device, dtype=torch.uint8),)


def _native_refusal(picture: Tensor) -> str | None:
    return _native.refusal_on(picture.device.type)


OPERATOR = Operator(
    _NAME,
    (
        Backend("native", "vadfast_kernels.preprocess.native_impl", _native_refusal),
        Backend("torch", "vadfast_kernels.preprocess.torch_impl", lambda *_: None),
    ),
)


@torch.library.custom_op("vadfast::preprocess", mutates_args=())
def _forward(
    picture: Tensor, size: list[int], format: str, crop: list[int], backend: str
) -> Tensor:
    return OPERATOR.implementation(backend, picture).forward(picture, size, format, crop)


@_forward.register_fake
def _(picture: Tensor, size: list[int], format: str, crop: list[int], backend: str) -> Tensor:
    return picture.new_empty((picture.shape[0], *size, 3))
