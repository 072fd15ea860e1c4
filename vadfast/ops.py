"""The operators under the product's name: ``vadfast.ops.criss_cross_attention`` is ``vadfast_kernels.ops.criss_cross_attention``."""

from typing import Any

from vadfast_kernels import ops


def __getattr__(name: str) -> Any:
    """PEP 562: an operator is loaded when it is first asked for."""
    return getattr(ops, name)
