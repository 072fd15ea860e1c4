"""What is counted for a GPU that is not here: bytes once, views free, our operators by their launches."""

import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from bench.predict import GPU, LAUNCH_US
from bench.work import Work, compiled_works_of, works_of


def _meta(*shape: int) -> Tensor:
    return torch.empty(shape, device="meta")


def test_an_operation_reads_and_writes_once_and_a_product_has_its_flop() -> None:
    (work,) = works_of(torch.mm, (_meta(10, 20), _meta(20, 30)), backward=False)
    assert work.mbyte == pytest.approx(4 * (10 * 20 + 20 * 30 + 10 * 30) / 1e6)
    assert work.gflop == pytest.approx(2 * 10 * 20 * 30 / 1e9)


def test_views_are_free_and_what_is_expanded_is_there_once() -> None:
    def add_bias(x: Tensor, bias: Tensor) -> Tensor:
        return x.permute(1, 0)[:, None] + bias.expand(20, 1, 10)

    (work,) = works_of(add_bias, (_meta(10, 20), _meta(1)), backward=False)
    assert work.mbyte == pytest.approx(4 * (200 + 1 + 200) / 1e6)


def test_a_gradient_counts_too() -> None:
    x = _meta(8, 8).requires_grad_()
    forward = works_of(lambda x: (x * x).sum(), (x,), backward=False)
    both = works_of(lambda x: (x * x).sum(), (x,), backward=True)
    assert len(forward) == 2
    assert len(both) > len(forward)


def test_time_is_the_slower_of_bytes_and_flop_and_each_launch_costs() -> None:
    gpu = GPU("made up", 1000.0, {torch.float32: 1.0})
    by_bytes, by_flop = Work(mbyte=2.0, gflop=1e-6), Work(mbyte=0.0, gflop=3e-3)
    assert gpu.ms([by_bytes], torch.float32) == pytest.approx(2e-3 + LAUNCH_US / 1e3)
    assert gpu.ms([by_bytes, by_flop], torch.float32) == pytest.approx(
        2e-3 + 3e-3 + 2 * LAUNCH_US / 1e3
    )


def test_what_is_compiled_is_fused_and_its_products_stay() -> None:
    def scaled_softmax(x: Tensor, w: Tensor) -> Tensor:
        return torch.softmax(torch.mm(x, w), dim=-1) * 2

    x, w = _meta(64, 128), _meta(128, 256)
    eager = works_of(scaled_softmax, (x, w), backward=False)
    compiled = compiled_works_of(scaled_softmax, (x, w), backward=False)
    assert len(eager) == 3
    assert [round(k.gflop * 1e9) for k in compiled] == [2 * 64 * 128 * 256, 0]
    # The product as eager's; then softmax and scale in one kernel: read once, written once.
    assert compiled[0].mbyte == pytest.approx(eager[0].mbyte)
    assert compiled[1].mbyte == pytest.approx(2 * 4 * 64 * 256 / 1e6)
    trained = [t.requires_grad_() for t in (x, w)]
    both = compiled_works_of(scaled_softmax, trained, backward=True)
    assert sum(k.gflop for k in both) == pytest.approx(3 * compiled[0].gflop)


def test_an_operator_of_ours_counts_as_its_launches() -> None:
    """In a process of its own, because kernels are interpreted in this one."""
    program = """
import torch
from vadfast_kernels import ops
from bench.work import works_of
q, v = (torch.empty(1, c, 8, 8, device="meta").to(memory_format=torch.channels_last) for c in (4, 16))
works = works_of(lambda *x: ops.criss_cross_attention(*x, backend="triton"), (q, q, v), backward=False)
print(len(works), *(round(w.mbyte * 1e6) for w in works))
"""
    environment = {k: x for k, x in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True
    )
    # Rows: q (which is k), v, and acc and state in float32, which are arguments of both passes; columns: y and its state as well.
    q, v, state = 4 * 4 * 64, 4 * 16 * 64, 4 * 2 * 64
    assert done.stdout.split() == ["2", str(q + v + v + state), str(q + v + v + state + v + state)]
