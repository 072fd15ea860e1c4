"""In which dtype operators compute, and that autocast lets them."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

# What operators take that compute in every precision.
FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def wide(*tensors: Tensor) -> torch.dtype:
    """Returns the dtype in which sums over ``tensors`` are kept: the widest of theirs, at least float32."""
    dtype = torch.float32
    for x in tensors:
        dtype = torch.promote_types(dtype, x.dtype)
    return dtype


def autocast_dtype(x: Tensor) -> torch.dtype | None:
    """Returns the dtype that autocast asks for on the device of ``x``, or None; torch knows no autocast of meta tensors."""
    kind = x.device.type
    if kind == "meta" or not torch.is_autocast_enabled(kind):
        return None
    return torch.get_autocast_dtype(kind)


def no_autocast(x: Tensor) -> AbstractContextManager[Any]:
    """Inputs have their dtype by now; products between them are in float32 at least, and autocast would round those too."""
    if x.device.type == "meta":
        return nullcontext()
    return torch.autocast(x.device.type, enabled=False)
