"""In which dtype operators compute, and that autocast lets them."""

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


def no_autocast(x: Tensor) -> torch.autocast:
    """Inputs have their dtype by now; products between them are in float32 at least, and autocast would round those too."""
    return torch.autocast(x.device.type, enabled=False)
