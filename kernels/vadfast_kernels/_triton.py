"""What every Triton backend shares: when it can run, and how its interpreter differs from a GPU.

``TRITON_INTERPRET=1``, set before triton is imported, runs kernels in NumPy on CPU tensors: for tests of the numbers.
"""

import importlib.util
from typing import Any

import torch
from torch import Tensor

from vadfast_kernels._op import INTERPRETED

OLDEST_CAPABILITY = (8, 0)  # before Ampere Triton has no matrix instructions: slower than eager
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def refusal(x: Tensor) -> str | None:
    """Returns why a Triton kernel cannot run on the device and dtype of ``x``, or None."""
    if importlib.util.find_spec("triton") is None:
        return "needs triton, which is not installed (pip install triton)"
    if x.dtype not in DTYPES:
        return f"computes in float32, float16 and bfloat16, got {x.dtype}"
    if x.device.type == "cpu":
        return None if INTERPRETED else "needs a CUDA tensor, got one on the CPU"
    if x.device.type != "cuda":
        return f"needs a CUDA tensor, got one on {x.device.type}"
    found = torch.cuda.get_device_capability(x.device)
    if found < OLDEST_CAPABILITY:
        return f"needs a GPU of capability {OLDEST_CAPABILITY[0]}.{OLDEST_CAPABILITY[1]}, got {found[0]}.{found[1]}"
    return None


def dot_options(dtype: torch.dtype) -> dict[str, Any]:
    """Returns the constexprs of a kernel whose ``tl.dot`` takes the dtype of the inputs.

    ``UPCAST`` because the interpreter stores bfloat16 as integers and adds those.
    """
    return {"UPCAST": INTERPRETED, "PRECISION": precision_of(dtype)}


def precision_of(dtype: torch.dtype) -> str:
    """Returns how products are rounded: torch's own setting for float32, so that fused and eager round alike."""
    exact = dtype == torch.float32 and torch.get_float32_matmul_precision() == "highest"
    return "ieee" if exact else "tf32"
