"""``python -m bench predict``: what the operators should take on GPUs that are not here, by counting; nothing is measured.

Every formulation runs on tensors that have shapes and no numbers (``work.py``). Each launch reads its inputs once and writes its
outputs once; a view costs nothing. So, by the data sheet of the GPU,

    time = sum over launches of max(bytes / copy rate, flop / matrix rate) + launches x LAUNCH_US

A peer's flop are those of its matrix products. Our kernels hold their products inside, so ours are the least work of the operator,
times ``_BACKWARD`` where the gradient is taken too, set against all of their bytes. Caches are left out, which favours nobody at
APN's sizes and the peers at small ones; so are the exponentials of all. Under a CUDA graph everybody's launches cost less.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor
from vadfast_kernels import ops
from vadfast_kernels.sta_attention.circle import harmonics_for
from vadfast_kernels.sta_attention.op import MAX_ERROR

from bench.contestants import Case, Measured, all_cases
from bench.machine import folder_of, this_machine
from bench.operators import DTYPE_NAMES
from bench.peers.preprocess import nv12_to_rgb, nv12_traffic_mbyte
from bench.results import ROOT, Row, write_rows
from bench.shapes import CAMERAS, Shape
from bench.work import Work, compiled_works_of, mbyte_of, works_of

LAUNCH_US = 5.0  # from one kernel to the next, as eager PyTorch launches them
# Work of forward and gradient over that of the forward pass: scores once more for each of two or three gradients.
_BACKWARD = 4.0
# What must be reached against whom, by the case or by the case at one shape, in the direction that is named.
_WANTED = {
    ("criss-cross attention", "forward"): {"naive": 8.0, "einsum": 2.0, "einsum, compiled": 1.3},
    ("criss-cross attention", "forward and backward"): {"einsum, compiled": 1.5},
    ("sta attention", "forward"): {"exact": 100.0, "exact, compiled": 10.0},
    ("variance attention", "forward and backward"): {"eager": 3.0, "eager, compiled": 1.2},
    ("prototype attention", "forward and backward"): {"broadcast": 3.0, "bmm, compiled": 1.2},
    ("attention loss", "forward and backward"): {"eager": 8.0, "eager, compiled": 1.5},
    ("psnr, 64 frames", "forward"): {"eager": 3.5},
    ("psnr, 1 frame", "forward"): {"eager": 8.0},
    ("preprocess", "forward"): {"torch": 5.0},
}


@dataclass(frozen=True, slots=True)
class GPU:
    """Rates of a data sheet, dense."""

    name: str
    gb_s: float
    tflops: dict[torch.dtype, float]

    @property
    def device(self) -> str:
        """How its rows name it: nothing ran on it."""
        return f"{self.name} (by its data sheet)"

    def ms(self, works: Iterable[Work], dtype: torch.dtype) -> float:
        """Returns what ``works`` take one after the other; of bytes there are no products."""
        tflops = self.tflops.get(dtype, math.inf)
        return sum(max(w.mbyte / self.gb_s, w.gflop / tflops) + LAUNCH_US / 1e3 for w in works)


GPUS = (
    GPU("NVIDIA A100 80 GB SXM", 2039, {torch.float32: 19.5, torch.float16: 312}),
    GPU("NVIDIA H100 SXM", 3350, {torch.float32: 66.9, torch.float16: 989}),
)


def rows() -> Iterator[Row]:
    """Yields every operator that has a form for GPUs, at every shape, beside its plain formulations."""
    for case in all_cases(torch.float16):
        if case.name in _CUDA or _has_triton(case.name):
            yield from _rows_of(case.name, case.shape, case.direction, case.dtype, _works(case))
    yield from _rows_of("preprocess", CAMERAS, "forward", torch.uint8, _preprocess())


@cache
def _has_triton(name: str) -> bool:
    operator = name.replace(" ", "_").replace("-", "_")
    if operator not in ops.operators():
        return False
    verdicts = ops.explain(operator, *ops.sample(operator, "meta", torch.float32))
    return any(v.backend == "triton" for v in verdicts)


def _frame_score(predicted: Tensor, truth: Tensor) -> list[Work]:
    """Both launches of csrc/core/frame_score.cu: sums of each row into its scratch, and the sums of those."""
    n, c, h, _ = predicted.shape
    # float64, of each row: its channels, one patch and one cell of the heat map.
    scratch = n * h * (c + 2) * 8 / 1e6
    return [Work(mbyte_of((predicted, truth)) + scratch, 0.0), Work(scratch, 0.0)]


# What is CUDA and not Triton cannot be asked for its launches.
_CUDA = {"psnr": _frame_score}


def _preprocess() -> dict[str, list[Work]]:
    """64 cameras a launch: csrc/core/preprocess.cu reads the rows that have a weight, and in them every sector."""
    n, height, width = CAMERAS["B"], CAMERAS["H"], CAMERAS["W"]
    pictures = torch.empty(n, height * 3 // 2, width, dtype=torch.uint8, device="meta")
    return {
        "torch": works_of(nv12_to_rgb, (pictures,), backward=False),
        "torch, compiled": compiled_works_of(nv12_to_rgb, (pictures,), backward=False),
        "vadfast": [Work(nv12_traffic_mbyte(CAMERAS), 0.0)],
    }


def _works(case: Case) -> dict[str, list[Work]]:
    operator, shape, dtype, backward = case.measured.operator, case.shape, case.dtype, case.backward
    found = {}
    for provider, call in operator.providers.items():
        if provider == "flex":  # never runs uncompiled at these sizes
            continue
        ours = provider == "vadfast"
        inputs = [
            _meta(x, dtype, channels_last=ours, trained=backward) if isinstance(x, Tensor) else x
            for x in operator.inputs(shape, torch.Generator().manual_seed(0))
        ]
        if not ours:
            found[provider] = works_of(call, inputs, backward=backward)
            found[f"{provider}, compiled"] = compiled_works_of(call, inputs, backward=backward)
        elif case.name in _CUDA:
            found[provider] = _CUDA[case.name](*inputs)
        else:
            works = works_of(partial(call, backend="triton"), inputs, backward=backward)
            least = _least_gflop(case.measured, shape) * (_BACKWARD if backward else 1.0)
            found[provider] = _with_products(works, least)
    return found


def _rows_of(
    name: str, shape: Shape, direction: str, dtype: torch.dtype, found: dict[str, list[Work]]
) -> Iterator[Row]:
    wanted = _WANTED.get((name, direction), _WANTED.get((f"{name}, {shape.name}", direction), {}))
    for gpu in GPUS:
        times = {provider: gpu.ms(works, dtype) for provider, works in found.items()}
        for provider, works in found.items():
            ratio = times[provider] / times["vadfast"]
            yield Row(
                suite="predicted",
                case=f"{name}, {shape.name}, {direction}",
                provider=provider,
                shape=shape.words,
                dtype=DTYPE_NAMES[dtype],
                value=float(f"{times[provider]:.3g}"),
                unit="ms",
                ratio=float(f"{ratio:.3g}"),
                reference="the time of vadfast",
                kind="predicted",
                device=gpu.device,
                date=this_machine().date,
                commit=this_machine().commit,
                load=0.0,
                target=f"vadfast >= {wanted[provider]:g}x faster" if provider in wanted else "",
                met=ratio >= wanted[provider] if provider in wanted else None,
                note=f"{len(works)} launches, {sum(w.mbyte for w in works):.4g} MB, "
                f"{sum(w.gflop for w in works):.3g} GFLOP",
                command="python -m bench predict",
            )


def _meta(x: Tensor, dtype: torch.dtype, *, channels_last: bool, trained: bool) -> Tensor:
    """``x`` without its numbers; images in the layout that the formulation is made for."""
    image = channels_last and x.dim() == 4
    form = torch.channels_last if image else torch.preserve_format
    floating = x.is_floating_point()
    x = x.to("meta", dtype if floating else x.dtype, memory_format=form)
    return x.requires_grad_(trained and floating)


def _least_gflop(measured: Measured, shape: Shape) -> float:
    if measured.operator.cost is not None:
        return measured.operator.cost(shape).gflop
    # STA's linear form, per element and recurrence: directions and features three times (for sums of rows and of columns, and at the
    # query), each feature then times two sources; R = 2.
    n = harmonics_for(MAX_ERROR)
    per_element = 3 * (15 + 4 * (n - 1) + 2 * (2 * n + 1))
    return 2 * 2 * per_element * shape["B"] * shape["N"] * shape["C"] / 1e9


def _with_products(works: list[Work], gflop: float) -> list[Work]:
    """Spreads the products that are inside our kernels over the launches, by their bytes."""
    total = sum(w.mbyte for w in works)
    return [Work(w.mbyte, gflop * w.mbyte / total) for w in works]


def write_predictions() -> list[Path]:
    """Writes a folder of rows for each GPU; returns the files."""
    everything = list(rows())
    return [
        path
        for gpu in GPUS
        for path in write_rows(
            (row for row in everything if row.device == gpu.device), ROOT / folder_of(gpu.device)
        )
    ]
