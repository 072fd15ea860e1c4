"""What an operator says of arguments before any backend is asked: its own check, run on tensors without memory."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

_Call = tuple[tuple[Any, ...], dict[str, Any]]


def _sta(f: "Tensor") -> _Call:
    return (f, *(f.new_empty(8) for _ in range(4))), {}


def _variance(x: "Tensor") -> _Call:
    return (x, x.new_empty((x.shape[1], x.shape[1]))), {"cell": 4}


# Where a call takes more than what decides about the backends (``sample`` of its op.py): the rest, as a typical call has it.
_WHOLE: dict[str, Callable[..., _Call]] = {
    "mutual_cosine_embedding": lambda normal: ((normal, normal), {}),
    "preprocess": lambda picture: ((picture,), {"size": (4, 4)}),
    "sta_attention": _sta,
    "variance_attention": _variance,
}


def refusal(operator: str, tensors: "Sequence[Tensor]") -> str | None:
    """Returns the sentence with which a call of ``operator`` with such ``tensors`` raises on every backend, or None.

    >>> import torch
    >>> refusal("preprocess", [torch.zeros(1, 4, 4, 3)])
    'preprocess: picture must be uint8, got torch.float32'
    """
    import torch
    from vadfast_kernels import ops

    in_little = [torch.empty(x.shape, dtype=x.dtype, device="meta") for x in tensors]
    whole = _WHOLE.get(operator)
    arguments, options = whole(*in_little) if whole else (tuple(in_little), {})
    try:
        with torch.no_grad():
            getattr(ops, operator)(*arguments, **options)
    except (TypeError, ValueError) as error:
        return str(error)
    except (NotImplementedError, RuntimeError):
        # Past the check: what comes then needs values, which these tensors have not.
        return None
    return None
