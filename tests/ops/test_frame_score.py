"""The operator frame_score: every backend against the NumPy reference, in every dtype and memory format, eager, compiled and exported."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from vadfast_kernels import _native, ops
from vadfast_kernels.frame_score import torch_impl
from vadfast_kernels.frame_score.op import FrameScore, _forward
from vadfast_kernels.frame_score.reference import frame_score as reference

BACKENDS = ("native", "torch")
DTYPES = (torch.uint8, torch.float16, torch.bfloat16, torch.float32)
# N, C, H, W, patches, heat map: one pixel; cells of a row, of a column, of a pixel; sides that cells do not divide.
CASES = (
    ((1, 1, 1, 1), (1, 1), (1, 1)), ((2, 2, 3, 10), (3, 1), (1, 10)), ((2, 3, 7, 5), (7, 5), (2, 3)),
    ((3, 3, 16, 24), (4, 4), (5, 7)), ((1, 5, 9, 33), (1, 1), (9, 33)),
)  # fmt: skip
SMALL: dict[str, Any] = {"patches": (2, 3), "heatmap": (4, 4)}
# A difference of numbers up to 1 is off by five roundings of float32, its square by twice that times its size; and float32 sums.
DIFFERENCE, SUM = 5 * 2.0**-24, 2.0**-20


def _frames(shape: tuple[int, ...], dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    if dtype == torch.uint8:
        return torch.randint(0, 256, shape, generator=generator, dtype=dtype)
    return (torch.rand(shape, generator=generator) * 2 - 1).to(dtype)


def _range(x: Tensor) -> tuple[float, float]:
    return (0.0, 255.0) if x.dtype == torch.uint8 else (-1.0, 1.0)


def _pair(*dtypes: torch.dtype, shape: tuple[int, ...] = (2, 3, 6, 9)) -> tuple[Tensor, Tensor]:
    return _frames(shape, dtypes[0]), _frames(shape, dtypes[1], seed=1)


def _assert_close(found: FrameScore, p: Tensor, t: Tensor, **options: Any) -> None:
    arrays = {k: v.double().numpy() if isinstance(v, Tensor) else v for k, v in options.items()}
    wanted = reference(p.double().numpy(), t.double().numpy(), **arrays)
    for name, mine, true in zip(FrameScore._fields, found, wanted, strict=True):
        error = np.maximum(wanted[0], 1e-10) if name == "psnr_db" else true
        allowed = SUM * error + 2 * DIFFERENCE * np.sqrt(error) + DIFFERENCE**2
        if name == "psnr_db":  # its derivative by the error is 10 / ln 10 over that
            allowed = 4.4 * allowed / error
        assert mine.dtype == (torch.float32 if name == "heatmap" else torch.float64)
        assert mine.shape == true.shape
        assert (np.abs(mine.numpy() - true) <= allowed).all(), f"{name}: {mine}, should be {true}"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(("shape", "patches", "heatmap"), CASES, ids=str)
def test_values(
    shape: tuple[int, ...], patches: tuple[int, int], heatmap: tuple[int, int], last: bool, weighted: bool,
    backend: str,
) -> None:  # fmt: skip
    p, t = _pair(torch.float32, torch.uint8, shape=shape)
    if last:
        t = t.to(memory_format=torch.channels_last)
    weight = torch.rand(shape[0], (shape[2] + 1) // 2, (shape[3] + 2) // 3) if weighted else None
    options = {"weight": weight, "patches": patches, "heatmap": heatmap} | {"predicted_range": _range(p), "truth_range": _range(t)}  # fmt: skip
    _assert_close(ops.frame_score(p, t, **options, backend=backend), p, t, **options)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("truth", DTYPES, ids=str)
@pytest.mark.parametrize("predicted", DTYPES, ids=str)
def test_every_dtype_against_every_other(
    predicted: torch.dtype, truth: torch.dtype, backend: str
) -> None:
    p, t = _pair(predicted, truth)
    options = {"predicted_range": _range(p), "truth_range": _range(t), **SMALL}
    found = ops.frame_score(p, t, **options, backend=backend)
    _assert_close(found, p, t, **options)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        again = ops.frame_score(p, t, **options, backend=backend)
    assert all(torch.equal(x, y) for x, y in zip(found, again, strict=True))


def test_float64_is_computed_in_float64() -> None:
    p, t = _frames((2, 3, 6, 9)).double(), _frames((2, 3, 6, 9), seed=1).double()
    found = ops.frame_score(p, t)
    wanted = reference(p.numpy(), t.numpy(), predicted_range=(0, 1), truth_range=(0, 1))
    np.testing.assert_allclose(found.error, wanted[0], rtol=1e-14)
    with pytest.raises(
        ops.BackendError, match=r"'native' computes from uint8, .* got torch.float64"
    ):
        ops.frame_score(p, t, backend="native")


def test_ranges_are_those_of_the_dtype_unless_given() -> None:
    p, t = _frames((2, 3, 6, 9), torch.float32).abs(), _frames((2, 3, 6, 9), torch.uint8)
    given = ops.frame_score(p, t, predicted_range=(0, 1), truth_range=(0, 255))
    assert all(torch.equal(x, y) for x, y in zip(ops.frame_score(p, t), given, strict=True))
    moved = ops.frame_score(2 * p - 1, t, predicted_range=(-1, 1))
    torch.testing.assert_close(moved.error, given.error, rtol=1e-6, atol=0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_in_its_frame(value: float, backend: str) -> None:
    p, t = _pair(torch.float32, torch.uint8)
    p[1, 2, 3, 4] = value
    found = ops.frame_score(p, t, **SMALL, backend=backend)
    for name in ("error", "psnr_db", "worst"):
        assert getattr(found, name).isfinite().tolist() == [True, False], name
    assert found.channel.isfinite().tolist() == [[True] * 3, [True, True, False]]
    assert int((~found.heatmap.isfinite()).sum()) == 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_slices_and_expanded_frames(backend: str) -> None:
    p, t = _pair(torch.float32, torch.uint8)
    wanted = ops.frame_score(p, t[:1].expand(2, -1, -1, -1).clone(), **SMALL, backend=backend)
    part = torch.randn(2, 5, 9, 20)[:, 1:4, 3:, 2:20:2].copy_(p)
    found = ops.frame_score(part, t[:1].expand(2, -1, -1, -1), **SMALL, backend=backend)
    for mine, true in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, true)


@pytest.mark.parametrize("n_frames", [1, 2, 5])
def test_large_batches_go_in_parts(n_frames: int, monkeypatch: pytest.MonkeyPatch) -> None:
    p, t = _pair(torch.float32, torch.uint8, shape=(5, 3, 6, 9))
    weight = torch.rand(5, 2, 2)
    whole = ops.frame_score(p, t, weight=weight, **SMALL, backend="torch")
    monkeypatch.setattr(torch_impl, "_PART_BYTES", {"cpu": n_frames * p[0].nbytes})
    parts = ops.frame_score(p, t, weight=weight, **SMALL, backend="torch")
    for mine, true in zip(parts, whole, strict=True):
        torch.testing.assert_close(mine, true)


def test_the_bits_do_not_depend_on_threads_and_inputs_stay_as_they_are() -> None:
    p, t = _pair(torch.float32, torch.uint8, shape=(8, 3, 128, 96))  # enough for several threads
    before, n_threads = (p.clone(), t.clone()), torch.get_num_threads()
    found = []
    try:
        for n in (1, 2, 5):
            torch.set_num_threads(n)
            found.append(ops.frame_score(p, t, **SMALL, backend="native"))
    finally:
        torch.set_num_threads(n_threads)
    assert all(torch.equal(x, y) for other in found for x, y in zip(found[0], other, strict=True))
    assert torch.equal(p, before[0])
    assert torch.equal(t, before[1])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("weighted", [False, True])
def test_opcheck(backend: str, weighted: bool) -> None:
    p, t = _pair(torch.float32, torch.uint8)
    weight = torch.rand(2, 2, 3) if weighted else None
    arguments = (p, t, weight, [-1.0, 1.0, 0.0, 255.0], [2, 3, 4, 4], backend)
    torch.library.opcheck(_forward, arguments)


@pytest.mark.parametrize("backend", BACKENDS)
def test_compiles_into_one_graph_and_exports(backend: str) -> None:
    class Scored(torch.nn.Module):
        def forward(self, p: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
            found = ops.frame_score(p.tanh(), t, predicted_range=(-1, 1), **SMALL, backend=backend)
            return 2 * found.psnr_db, found.heatmap

    frames, module = _pair(torch.float32, torch.uint8), Scored()
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*frames), module(*frames))
    exported = torch.export.export(module, frames).module()
    torch.testing.assert_close(exported(*frames), module(*frames))


@pytest.mark.parametrize("backend", BACKENDS)
def test_there_is_no_gradient(backend: str) -> None:
    p, t = _pair(torch.float32, torch.uint8)
    found = ops.frame_score(p.requires_grad_(), t, backend=backend)
    with pytest.raises(RuntimeError, match="no autograd formula was registered"):
        found.error.sum().backward()


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda p, t: (p[0], t), ValueError, r"predicted must be \[N, C, H, W\] and not empty, got \[3, 6, 9\]"),
        (lambda p, t: (p[:0], t), ValueError, r"not empty, got \[0, 3, 6, 9\]"),
        (lambda p, t: (p, t[:1]), ValueError, r"truth must be \[2, 3, 6, 9\] like predicted, got \[1, 3, 6, 9\]"),
        (lambda p, t: (p.long(), t), TypeError, r"predicted must be uint8, .* got torch.int64"),
        (lambda p, t: (p, t.bool()), TypeError, r"truth must be uint8, .* got torch.bool"),
        (lambda p, t: (p, t.to("meta")), TypeError, "truth must be on cpu like predicted, got one on meta"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(
    change: Callable[..., tuple[Tensor, ...]], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        ops.frame_score(*change(*_pair(torch.float32, torch.uint8)))


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"patches": (7, 1)}, ValueError, "patches must be 1 x 1 to 6 x 9 cells, got 7 x 1"),
        ({"heatmap": (1, 0)}, ValueError, "heatmap must be 1 x 1 to 6 x 9 cells, got 1 x 0"),
        ({"predicted_range": (1, 1)}, ValueError, r"predicted_range must be two finite values that differ, .* got \(1, 1\)"),
        ({"truth_range": (0, float("inf"))}, ValueError, "truth_range must be two finite values"),
        ({"weight": torch.ones(2, 7, 1)}, ValueError, r"weight must be \[2, 1 to 6, 1 to 9\] .* got \[2, 7, 1\]"),
        ({"weight": torch.ones(2, 2)}, ValueError, r"weight must be \[2, 1 to 6, 1 to 9\] .* got \[2, 2\]"),
        ({"weight": torch.ones(2, 2, 2).byte()}, TypeError, "weight must be float32, .* got torch.uint8"),
        ({"weight": torch.ones(2, 2, 2, device="meta")}, TypeError, "weight must be on cpu like predicted, got one on meta"),
        ({"backend": "cuda"}, ValueError, "backend must be one of auto, native, torch, got 'cuda'"),
    ],
)  # fmt: skip
def test_options_that_cannot_be_right_are_named(
    options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        ops.frame_score(*_pair(torch.float32, torch.uint8), **options)


def test_a_grid_that_the_core_has_no_room_for_is_torchs() -> None:
    most = _native.module().MAX_GRID_COLUMNS
    wide = torch.zeros(1, 1, 1, most + 1, dtype=torch.uint8)
    cells = (1, most + 1)
    assert not ops.frame_score(wide, wide, heatmap=cells).heatmap.any()
    with pytest.raises(ops.BackendError, match=f"takes grids of at most {most} columns"):
        ops.frame_score(wide, wide, heatmap=cells, backend="native")


def test_backends_and_their_order() -> None:
    sample = ops.sample("frame_score", torch.device("cpu"), torch.float32)
    verdicts = ops.explain("frame_score", *sample)
    assert [(v.backend, v.chosen) for v in verdicts] == [("native", True), ("torch", False)]
    meta = ops.frame_score(*(x.to("meta") for x in sample), heatmap=(2, 3))
    assert meta.heatmap.shape == (4, 2, 3)
    assert meta.error.is_meta
