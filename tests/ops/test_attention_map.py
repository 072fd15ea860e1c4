"""ADL's attention map: the reference against loops and the model's own, every backend against the float64 reference."""

import itertools

import pytest
import torch
from torch import Tensor
from vadfast_kernels import ops
from vadfast_kernels.attention_map.op import _forward
from vadfast_kernels.attention_map.reference import attention_map as reference

from tests.ops.inputs import DTYPES, attention_map_inputs
from tests.ops.tolerances import assert_as_good_as_eager

BACKENDS = ("torch", "triton")
# B, T, C, H, W: the shortest clip of two values, a row, a column, primes, several tiles (8 x 128) of either side, a long clip.
SHAPES = (
    (1, 2, 1, 1, 2), (2, 5, 3, 1, 9), (1, 5, 1, 9, 1), (2, 3, 2, 13, 37), (1, 5, 1, 9, 130),
    (1, 40, 3, 5, 6),
)  # fmt: skip
SMALL = (2, 5, 3, 5, 6)


def _frames(shape: tuple[int, ...] = SMALL, dtype: torch.dtype = torch.float32) -> Tensor:
    return attention_map_inputs(shape, dtype)[0]


def _by_loops(frames: Tensor, background: float) -> Tensor:
    """M from differences of running means (paper eq. 2 to 5), which no weights appear in."""
    b, t, *plane = frames.shape
    found = torch.empty(b, *plane, dtype=torch.float64)
    for i in range(b):
        means = [frames[i, : n + 1].mean(dim=0) for n in range(t)]
        m = torch.zeros(plane, dtype=torch.float64)
        for late, early in itertools.product(range(t), repeat=2):
            if late > early:
                m += means[late] - means[early]
        harmonic = [sum(1 / k for k in range(1, n + 1)) for n in range(t + 1)]
        alpha = [
            2 * (t - n + 1) - (t + 1) * (harmonic[t] - harmonic[n - 1]) for n in range(1, t + 1)
        ]
        spread = max(float(m.max() - m.min()), 0.01 * sum(map(abs, alpha)))
        found[i] = (m.abs() / spread).clamp(max=1) + background
    return found


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("contrast", [1.0, 0.003], ids=["moving", "guarded"])
def test_the_reference_is_the_formula(shape: tuple[int, ...], contrast: float) -> None:
    frames = _frames(shape, torch.float64) * contrast
    found = reference(frames, background=0.2)
    torch.testing.assert_close(found, _by_loops(frames, 0.2), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [*DTYPES, torch.uint8], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values(shape: tuple[int, ...], dtype: torch.dtype, backend: str) -> None:
    frames = _frames(shape, dtype)
    exact = frames.double() / 127.5 - 1 if dtype == torch.uint8 else frames.double()
    found = ops.attention_map(frames, background=0.2, backend=backend)
    assert_as_good_as_eager(
        found, reference(frames, background=0.2), reference(exact, background=0.2)
    )


def test_in_float64_the_map_is_the_reference() -> None:
    frames = _frames((2, 7, 3, 13, 17), torch.float64)
    torch.testing.assert_close(ops.attention_map(frames), reference(frames), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("backend", BACKENDS)
def test_where_little_moves_the_guard_divides_and_a_light_is_cut(backend: str) -> None:
    still = _frames((1, 5, 3, 9, 130)) * 0.002
    light = torch.zeros(1, 5, 3, 9, 130)
    light[:, 1:] = 0.5  # M is 1.85 everywhere, its range 0
    found = ops.attention_map(torch.cat([still, light]), backend=backend)
    torch.testing.assert_close(found[:1], reference(still), rtol=1e-5, atol=1e-6)
    assert found[0].max() < 0.1 + 0.25
    assert torch.equal(found[1], torch.full((3, 9, 130), 1.1))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32], ids=str)
def test_frames_of_a_video_and_parts_of_larger_ones(dtype: torch.dtype, backend: str) -> None:
    frames = _frames((2, 5, 3, 13, 17), dtype)
    wanted = ops.attention_map(frames, backend=backend)
    last = frames.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    part = torch.zeros(2, 6, 4, 20, 40, dtype=dtype)[:, 1:, 1:, 3:16, 2:36:2]
    part.copy_(frames)
    for other in (last, part):
        found = ops.attention_map(other, backend=backend)
        assert found.is_contiguous()
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_not_finite_stays_in_its_sample_as_in_eager(backend: str) -> None:
    frames = _frames((4, 5, 2, 9, 130))
    frames[0, 2, 1, 8, 129] = float("nan")
    frames[1, 2, 1, 8, 129] = float("inf")
    frames[2, 2, 1, 0, 0], frames[2, 2, 1, 0, 1] = float("inf"), -float("inf")
    found = ops.attention_map(frames, backend=backend)
    torch.testing.assert_close(found, reference(frames), equal_nan=True)
    assert found[0].isnan().all()
    assert found[3].isfinite().all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_calls_agree_in_every_bit_and_read_only(backend: str) -> None:
    frames = _frames((2, 5, 3, 13, 37))
    before = frames.clone()
    first, second = (ops.attention_map(frames, backend=backend) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(frames, before)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_map_is_a_constant(backend: str) -> None:
    found = ops.attention_map(_frames().requires_grad_(), backend=backend)
    assert not found.requires_grad
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(ops.attention_map(_frames(), backend=backend), found)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32], ids=str)
def test_opcheck(dtype: torch.dtype, backend: str) -> None:
    frames = _frames(SMALL, dtype)
    torch.library.opcheck(_forward, (frames, 0.1, backend))
    torch.library.opcheck(_forward, (frames.permute(0, 1, 3, 4, 2), 0.1, backend))


@pytest.mark.parametrize("backend", BACKENDS)
def test_compiles_into_one_graph_and_exports(backend: str) -> None:
    class Map(torch.nn.Module):
        def forward(self, frames: Tensor) -> Tensor:
            return 2 * ops.attention_map(frames.permute(0, 1, 4, 2, 3), backend=backend)

    frames, layer = _frames((2, 5, 5, 6, 3), torch.uint8), Map()
    wanted = layer(frames)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(frames), wanted)
    torch.testing.assert_close(torch.export.export(layer, (frames,)).module()(frames), wanted)


def test_what_does_not_fit_is_named() -> None:
    frames = _frames()
    for wrong, error, words in (
        (
            frames[0],
            ValueError,
            r"frames must be \[B, T, C, H, W\] and not empty, got \[5, 3, 5, 6\]",
        ),
        (frames[:0], ValueError, r"not empty, got \[0, 5, 3, 5, 6\]"),
        (frames[:, :1], ValueError, "at least 2 frames to show motion, got 1"),
        (frames.int(), TypeError, r"frames must be uint8, float32, .* got torch.int32"),
    ):
        with pytest.raises(error, match=words):
            ops.attention_map(wrong)


def test_a_named_backend_runs_or_raises() -> None:
    with pytest.raises(ops.BackendError, match=r"'triton' computes in float32, .* torch.float64"):
        ops.attention_map(_frames(SMALL, torch.float64), backend="triton")
    with pytest.raises(ValueError, match="backend must be one of auto, triton, torch, got 'cuda'"):
        ops.attention_map(_frames(), backend="cuda")
