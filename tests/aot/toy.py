"""A kernel with one argument of every kind, recorded and printed: run in a process that does not interpret kernels."""

import json

import torch
import triton
import triton.language as tl
from torch import Tensor
from vadfast_kernels.aot import recorded


@triton.jit
def _scaled_rows_kernel(
    y_ptr, x_ptr, scale, N, y_row, x_row, x_at, BLOCK: tl.constexpr, SQUARE: tl.constexpr
):  # fmt: skip
    at = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + tl.program_id(0) * x_row + at * x_at, mask=at < N)
    tl.store(y_ptr + tl.program_id(0) * y_row + at, (x * x if SQUARE else x) * scale, mask=at < N)


def scaled_rows(x: Tensor) -> None:
    """Two launches, of x and of its transpose."""
    for each, square in ((x, False), (x.T, True)):
        n_rows, n = each.shape
        y = torch.empty((n_rows, n), device=x.device)
        _scaled_rows_kernel[(n_rows,)](
            y, each, 0.5, n, y.stride(0), *each.stride(), BLOCK=64, SQUARE=square, num_warps=2
        )


if __name__ == "__main__":
    x = torch.empty((48, 40), dtype=torch.float16, device="meta")
    print(
        json.dumps(
            [
                {
                    "name": b.name, "types": b.types, "constants": b.constants, "multiples": sorted(b.multiples),
                    "grid": b.grid, "scalars": b.scalars, "arguments": b.arguments(), "n_warps": b.n_warps,
                }
                for b in recorded("48x40", lambda: scaled_rows(x))
            ]
        )
    )  # fmt: skip
