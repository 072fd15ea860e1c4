"""Frame scores on a GPU: what the CPU finds, for every dtype, layout and grid; the same bits twice; and what is refused.

``compute-sanitizer --tool memcheck python -m pytest tests/gpu -k sanitizer`` runs the small frames only, racecheck as well.
"""

from typing import Any

import pytest
import torch
from torch import Tensor
from vadfast_kernels import _native, ops
from vadfast_kernels.frame_score import native
from vadfast_kernels.frame_score.op import FrameScore

from bench.shapes import PSNR

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU"),
    pytest.mark.skipif(
        _native.refusal() is not None or _native.module().build_info()["cuda"] is None,
        reason="the compiled module is not there, or was built without CUDA",
    ),
]

DTYPES = (torch.uint8, torch.float16, torch.bfloat16, torch.float32)
# One pixel; a warp and a bit; more columns than a block takes at a time; more channels than it has groups.
SMALL = ((1, 1, 1, 1), (3, 3, 17, 33), (1, 2, 5, 1500), (2, 40, 6, 7))
F = torch.linspace(0, 1, 2 * 3 * 6 * 8).view(2, 3, 6, 8)
U = torch.arange(2 * 3 * 6 * 8).remainder(256).byte().view(2, 3, 6, 8)


def _frames(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    if dtype == torch.uint8:
        return torch.randint(0, 256, shape, generator=generator, dtype=dtype)
    return torch.rand(shape, generator=generator).to(dtype)


def _on_both(p: Tensor, t: Tensor, **options: Any) -> tuple[FrameScore, FrameScore]:
    weight = options.pop("weight", None)
    found = ops.frame_score(
        p.cuda(), t.cuda(), weight=None if weight is None else weight.cuda(), backend="native", **options
    )  # fmt: skip
    return found, ops.frame_score(p, t, weight=weight, backend="native", **options)


def _assert_same(found: FrameScore, wanted: FrameScore) -> None:
    for name, mine, true in zip(FrameScore._fields, found, wanted, strict=True):
        # The same float32 differences; only the order of the sums is another.
        torch.testing.assert_close(mine.cpu(), true, rtol=1e-6, atol=1e-15, msg=lambda m, name=name: f"{name}: {m}")  # fmt: skip


@pytest.mark.parametrize("shape", SMALL, ids=str)
@pytest.mark.parametrize("truth", DTYPES, ids=str)
@pytest.mark.parametrize("predicted", DTYPES, ids=str)
def test_sanitizer_small_frames_are_those_of_the_cpu(
    shape: tuple[int, ...], predicted: torch.dtype, truth: torch.dtype
) -> None:
    p, t = _frames(shape, predicted, 0), _frames(shape, truth, 1)
    height, width = shape[2:]
    options = {
        "patches": ((height + 1) // 2, (width + 2) // 3),
        "heatmap": (height, min(width, 700)),
        "weight": torch.rand(shape[0], (height + 2) // 3, (width + 1) // 2),
    }
    _assert_same(*_on_both(p, t, **options))
    _assert_same(*_on_both(p, t.to(memory_format=torch.channels_last)))


@pytest.mark.parametrize("pixels", [False, True])
def test_at_the_shape_of_the_models(pixels: bool) -> None:
    sizes = PSNR[0].sizes
    shape = (sizes["B"], sizes["C"], sizes["H"], sizes["W"])
    p, t = _frames(shape, torch.float32, 0), _frames(shape, torch.uint8, 1)
    t = t.to(memory_format=torch.channels_last) if pixels else t
    found, wanted = _on_both(p, t, patches=(4, 4), heatmap=(32, 32))
    _assert_same(found, wanted)
    again, _ = _on_both(p, t, patches=(4, 4), heatmap=(32, 32))
    assert all(torch.equal(x, y) for x, y in zip(found, again, strict=True))


def test_what_is_not_finite_stays_in_its_frame() -> None:
    p = F.clone()
    p[1, 2, 3, 4] = float("nan")
    found, _ = _on_both(p, U, patches=(2, 2), heatmap=(2, 2))
    for name in ("error", "psnr_db", "worst"):
        assert getattr(found, name).isfinite().tolist() == [True, False], name
    assert int((~found.heatmap.isfinite()).sum()) == 1


def test_a_call_is_work_of_its_stream_and_is_captured_in_a_graph() -> None:
    p, t = F.cuda(), U.cuda()
    wanted = ops.frame_score(p, t, backend="native").error
    graph = torch.cuda.CUDAGraph()
    moving = p.clone()
    with torch.cuda.graph(graph):
        found = ops.frame_score(moving, t, backend="native").error
    moving.zero_()
    graph.replay()
    zero = found.clone()
    moving.copy_(p)
    graph.replay()
    assert torch.equal(found, wanted)
    assert not torch.equal(zero, wanted)


def _scored(p: Any, t: Any, **options: Any) -> native.Scores:
    out = {"error": torch.full((2,), 7.0, dtype=torch.float64, device="cuda")}
    scratch = torch.empty(native.scratch_bytes(F, U), dtype=torch.uint8, device="cuda")
    stream = torch.cuda.current_stream().cuda_stream
    try:
        return native.frame_score(p, t, **{"out": out, "scratch": scratch, "stream": stream, **options})  # fmt: skip
    except ValueError:
        assert (out["error"] == 7.0).all()  # untouched
        raise


def test_other_libraries_arrays_are_taken_as_they_are() -> None:
    cupy = pytest.importorskip("cupy")
    p, t = (cupy.from_dlpack(x.cuda()) for x in (F, U))
    found = _scored(p, t)
    torch.cuda.synchronize()
    torch.testing.assert_close(found.error.cpu(), ops.frame_score(F, U).error, rtol=1e-6, atol=0)


def test_memory_that_is_not_the_gpus_is_refused() -> None:
    with pytest.raises(ValueError, match="truth must be of the shape and on the device of predicted"):  # fmt: skip
        _scored(F.cuda(), U)
    with pytest.raises(ValueError, match="on the device of predicted"):
        _scored(F.cuda(), U.cuda(), out={"error": torch.empty(2, dtype=torch.float64)})
    with pytest.raises(ValueError, match="scratch must be device memory"):
        _scored(F.cuda(), U.cuda(), scratch=torch.empty(4096, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"scratch must be \d+ bytes of device memory .* got 8 at"):
        _scored(F.cuda(), U.cuda(), scratch=torch.empty(8, dtype=torch.uint8, device="cuda"))
    with pytest.raises(ValueError, match="out must be given for arrays on CUDA"):
        _scored(F.cuda(), U.cuda(), out=None)
