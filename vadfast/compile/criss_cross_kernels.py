"""The Triton kernels of criss-cross attention as PTX that TensorRT can call.

TensorRT gives a kernel the addresses of its inputs, then integers, then the addresses of its outputs, and nothing behind them. Triton's
kernel takes them in its author's order, and two null pointers of Triton's at the end. A parameter of PTX is read by its name, so putting
the declarations into another order, and leaving out those that nothing reads, changes no instruction.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from vadfast.errors import BackendError

if TYPE_CHECKING:
    import torch
    from vadfast_kernels.aot import Build
    from vadfast_kernels.aot.compiled import Compiled

# Every GPU from here on reads it: the driver, or TensorRT, makes the GPU's own code of it.
OLDEST_ARCHITECTURE = 80
_SHARED_WITHOUT_ASKING = 48 * 1024  # bytes of a block; TensorRT asks for no more
_ROWS = (("q_ptr", "k_ptr", "v_ptr"), ("y_ptr", "state_ptr"))
_COLUMNS = ((*_ROWS[0], "acc_ptr", "acc_state_ptr"), _ROWS[1])


@dataclass(frozen=True, slots=True)
class PtxKernel:
    """A kernel for one size of image, and its launch."""

    symbol: str
    ptx: str
    # Blocks: tiles of a line, lines of one image (times images), chunks of channels.
    grid: tuple[int, int, int]
    n_threads: int
    shared_bytes: int
    integers: tuple[int, ...]  # sizes and strides, in the order of the call


@cache
def make_kernels(
    query_channels: int, channels: int, height: int, width: int, dtype: "torch.dtype"
) -> tuple[PtxKernel, PtxKernel]:
    """Returns the kernels of the rows and of the columns for images [B, height, width, .], any B.

    Args:
        query_channels: D of q and k, up to 128.
        channels: C of v.
        height: H.
        width: W.
        dtype: of q, k, v and the result: float32, whose products are exact, or float16.

    Raises:
        BackendError: Triton cannot compile them here, or a launch of TensorRT's does not give what they need.
    """
    import torch
    from vadfast_kernels.aot import recorded
    from vadfast_kernels.criss_cross_attention import triton_impl
    from vadfast_kernels.criss_cross_attention.op import MAX_QUERY_CHANNELS, MAX_REACH

    elements = height * width * max(query_channels, channels)
    if query_channels > MAX_QUERY_CHANNELS or elements > MAX_REACH:
        raise BackendError(
            f"left out: its kernel takes at most {MAX_QUERY_CHANNELS} query channels and {MAX_REACH} elements an image, got {query_channels} "
            f"and {elements}"
        )

    def on_meta(size: int) -> "torch.Tensor":
        empty = torch.empty((1, height, width, size), dtype=dtype, device="meta")
        return empty.movedim(-1, 1)

    q, k, v = on_meta(query_channels), on_meta(query_channels), on_meta(channels)
    words = f"H{height} W{width} D{query_channels} C{channels}"
    builds = tuple(recorded(words, lambda: triton_impl.forward(q, k, v)))
    rows, columns = sorted(builds, key=lambda build: bool(build.constants["COLUMN"]))
    return _as_called(rows, *_ROWS), _as_called(columns, *_COLUMNS)


def _as_called(build: "Build", inputs: Sequence[str], outputs: Sequence[str]) -> PtxKernel:
    from vadfast_kernels.aot.compiled import compile_build
    from vadfast_kernels.aot.pack import check_can_launch

    # Triton's errors share no base but Exception.
    try:
        done = compile_build(build, OLDEST_ARCHITECTURE)
    except Exception as error:
        raise BackendError(f"triton cannot compile {build.name}: {error}") from error
    check_can_launch(build, done)
    shared = done.metadata["shared"]
    if shared > _SHARED_WITHOUT_ASKING:
        raise BackendError(
            f"{build.name} must need at most {_SHARED_WITHOUT_ASKING} bytes of shared memory in TensorRT, needs {shared}; take tensorrt"
        )
    integers = [name for name in build.arguments() if not build.types[name].startswith("*")]
    ptx = reordered(done, build.arguments(), [*inputs, *integers, *outputs])
    # An engine holds several kernels of this name, and nothing says that TensorRT would tell them apart.
    symbol = f"criss_cross_{hashlib.sha256(ptx.encode()).hexdigest()[:16]}"
    return PtxKernel(
        symbol=symbol,
        ptx=ptx.replace(done.metadata["name"], symbol),
        grid=build.grid,
        n_threads=32 * done.metadata["num_warps"],
        shared_bytes=shared,
        integers=tuple(int(build.scalars[name]) for name in integers),
    )


def reordered(done: "Compiled", arguments: Sequence[str], wanted: Sequence[str]) -> str:
    """Returns the PTX of ``done``, whose kernel takes ``arguments`` and then Triton's own, as one that takes ``wanted``.

    Raises:
        ValueError: it reads a parameter that is not among ``wanted``.
    """
    head, body = re.split(r"(?<=\.entry )", done.ptx, maxsplit=1)
    opened, closed = body.index("("), body.index(")")
    declared = [line.strip().rstrip(",") for line in body[opened + 1 : closed].split(",")]
    by_name = dict(zip(arguments, declared, strict=False))
    rest = body[closed + 1 :]
    kept = [by_name[name] for name in wanted]
    for declaration in declared:
        parameter = declaration.split()[-1]
        if declaration not in kept and re.search(rf"\[{re.escape(parameter)}[\]+]", rest):
            raise ValueError(
                f"{parameter} of {done.resources.build} must not be read, and is; this Triton passes arguments in another way"
            )
    return f"{head}{body[:opened]}(\n\t" + ",\n\t".join(kept) + f"\n)\n{rest.lstrip()}"
