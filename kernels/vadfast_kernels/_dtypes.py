"""In which dtype operators compute, and that autocast lets them."""

import torch
from torch import Tensor

# What operators take that compute in every precision.
FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def wide(x: Tensor) -> torch.dtype:
    """Returns the dtype in which sums over ``x`` are kept: at least float32."""
    return torch.promote_types(x.dtype, torch.float32)


def no_autocast(x: Tensor) -> torch.autocast:
    """Inputs have their dtype by now; products between them are in float32 at least, and autocast would round those too."""
    return torch.autocast(x.device.type, enabled=False)
