"""MTL's loss over the worst patch: the reference against loops, every backend against the float64 reference."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from vadfast_kernels import ops
from vadfast_kernels.patch_max_loss import torch_impl
from vadfast_kernels.patch_max_loss.op import _backward, _forward
from vadfast_kernels.patch_max_loss.reference import patch_max_loss as reference

from tests.ops.inputs import DTYPES, frame_inputs
from tests.ops.tolerances import GRADIENT_FACTOR, assert_as_good_as_eager

BACKENDS = ("torch", "triton")
# B, C, H, W, rows, columns: one pixel; patches of a row, of a column, of a pixel; primes; several tiles (8 x 128) of either side;
# more patches than are compared at once (64).
SHAPES = (
    (1, 1, 1, 1, 1, 1), (2, 2, 3, 10, 3, 1), (2, 1, 10, 3, 1, 3), (1, 3, 2, 5, 2, 5),
    (3, 2, 14, 33, 2, 3), (1, 1, 18, 260, 2, 2), (2, 1, 8, 20, 4, 20),
)  # fmt: skip
SMALL = (2, 2, 4, 6, 2, 3)


def _inputs(
    shape: tuple[int, ...], dtype: torch.dtype = torch.float32, seed: int = 0
) -> tuple[list[Tensor], dict[str, Any]]:
    return frame_inputs(shape[:4], dtype, seed), {"rows": shape[4], "columns": shape[5]}


def _with_gradient(
    function: Callable[..., Tensor], frames: list[Tensor], dloss: float = 1.0
) -> tuple[Tensor, Tensor]:
    leaf = frames[0].detach().requires_grad_()
    loss = function(leaf, *frames[1:])
    (gradient,) = torch.autograd.grad(loss, leaf, torch.tensor(dloss, dtype=loss.dtype))
    return loss.detach(), gradient


def _by_loops(p: Tensor, t: Tensor, rows: int, columns: int) -> float:
    b, c, height, width = p.shape
    h, w = height // rows, width // columns
    total = 0.0
    for sample in range(b):
        errors = [0.0] * (rows * columns)
        for channel in range(c):
            for y in range(height):
                for x in range(width):
                    at = (sample, channel, y, x)
                    errors[y // h * columns + x // w] += float(p[at] - t[at]) ** 2
        total += max(errors) / (c * h * w)
    return total / b


@pytest.mark.parametrize("shape", SHAPES[:5], ids=str)
def test_the_reference_is_the_formula(shape: tuple[int, ...]) -> None:
    frames, grid = _inputs(shape, torch.float64)
    assert float(reference(*frames, **grid)) == pytest.approx(_by_loops(*frames, **grid), rel=1e-12)


@pytest.mark.parametrize("function", [reference, ops.patch_max_loss], ids=["reference", "op"])
def test_in_float64_the_gradient_is_that_of_differences(function: Callable[..., Tensor]) -> None:
    (p, t), grid = _inputs(SMALL, torch.float64)  # random: no two patches are equally bad
    assert torch.autograd.gradcheck(lambda x: function(x, t, **grid), [p.requires_grad_()])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("shape", "last"),
    [*((s, False) for s in SHAPES), (SHAPES[3], True), (SHAPES[4], True)],
    ids=str,
)
def test_values_and_gradients(
    shape: tuple[int, ...], dtype: torch.dtype, last: bool, backend: str
) -> None:
    frames, grid = _inputs(shape, dtype)
    if last:
        frames = [x.to(memory_format=torch.channels_last) for x in frames]

    def fused(*x: Tensor) -> Tensor:
        return ops.patch_max_loss(*x, **grid, backend=backend)

    def eager(*x: Tensor) -> Tensor:
        return reference(*x, **grid)

    found, wanted = (_with_gradient(f, frames, dloss=-2.0) for f in (fused, eager))
    true = _with_gradient(eager, [x.double() for x in frames], dloss=-2.0)
    assert_as_good_as_eager(found[0], wanted[0], true[0], what="loss")
    assert_as_good_as_eager(found[1], wanted[1], true[1], factor=GRADIENT_FACTOR, what="dpredicted")
    assert found[1].stride() == torch.empty_like(frames[0]).stride()


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_first_of_equally_bad_patches_has_the_gradient(backend: str) -> None:
    p, t = torch.zeros(2, 1, 4, 6), torch.zeros(2, 1, 4, 6)
    p[0, 0, 1, 3] = p[0, 0, 3, 1] = 2.0  # patches 1 and 3 of six
    loss, gradient = _with_gradient(
        lambda *x: ops.patch_max_loss(*x, rows=2, columns=3, backend=backend), [p, t]
    )
    assert float(loss) == 0.5  # 4 over 4 pixels in the first sample, nothing in the second
    assert gradient.nonzero().tolist() == [[0, 0, 1, 3]]
    assert float(gradient.sum()) == 0.5
    wanted = _with_gradient(lambda *x: reference(*x, rows=2, columns=3), [p, t])
    torch.testing.assert_close((loss, gradient), wanted)


@given(
    st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4),
    st.integers(1, 4), st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=30, deadline=None)
def test_only_one_patch_of_a_sample_moves_and_none_is_worse(
    b: int, c: int, rows: int, columns: int, h: int, w: int, seed: int
) -> None:
    (p, t), grid = _inputs((b, c, rows * h, columns * w, rows, columns), torch.float64, seed)
    loss, gradient = _with_gradient(lambda *x: ops.patch_max_loss(*x, **grid), [p, t])
    assert float(loss) >= float((p - t).square().mean()) - 1e-12
    moved = gradient.unflatten(3, (columns, w)).unflatten(2, (rows, h)).abs().sum(dim=(1, 3, 5))
    assert ((moved > 0).sum(dim=(1, 2)) == 1).all()
    step = _with_gradient(lambda *x: ops.patch_max_loss(*x, **grid), [p - 1e-6 * gradient, t])[0]
    assert step < loss


@pytest.mark.parametrize("backend", BACKENDS)
def test_slices_and_two_memory_formats(backend: str) -> None:
    (p, t), grid = _inputs(SMALL)

    def loss(*x: Tensor) -> Tensor:
        return ops.patch_max_loss(*x, **grid, backend=backend)

    wanted = _with_gradient(loss, [p, t])
    part_of_a_frame = torch.randn(2, 5, 9, 20)[:, 1:3, 3:7, 2:14:2].copy_(p)
    frame_of_a_clip = torch.randn(2, 5, 2, 4, 6)
    frame_of_a_clip[:, -1] = t
    for frames in ([part_of_a_frame, frame_of_a_clip[:, -1]], [p.to(memory_format=torch.channels_last), t]):  # fmt: skip
        torch.testing.assert_close(_with_gradient(loss, frames), wanted)


@pytest.mark.parametrize("n_planes", [1, 2, 3, 7])
def test_large_batches_go_in_parts(n_planes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    frames, grid = _inputs((5, 3, 4, 6, 2, 3))

    def loss(*x: Tensor) -> Tensor:
        return ops.patch_max_loss(*x, **grid, backend="torch")

    whole = _with_gradient(loss, frames)
    monkeypatch.setattr(torch_impl, "_PART_BYTES", {"cpu": n_planes * 4 * 6 * 4})
    torch.testing.assert_close(_with_gradient(loss, frames), whole)


@pytest.mark.parametrize("backend", BACKENDS)
def test_each_tensor_has_its_own_dtype_and_autocast_changes_nothing(backend: str) -> None:
    (p, t), grid = _inputs(SMALL)
    frames = [p.bfloat16(), t]
    loss, gradient = _with_gradient(
        lambda *x: ops.patch_max_loss(*x, **grid, backend=backend), frames
    )
    exact, exact_gradient = _with_gradient(
        lambda *x: reference(*x, **grid), [x.double() for x in frames]
    )
    torch.testing.assert_close(loss.double(), exact, rtol=1e-6, atol=0)
    assert (loss.dtype, gradient.dtype) == (torch.float32, torch.bfloat16)
    torch.testing.assert_close(gradient.double(), exact_gradient, rtol=2**-7, atol=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(ops.patch_max_loss(*frames, **grid, backend=backend), loss)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_mean_over_many_pixels_keeps_its_gradient_in_float16(backend: str) -> None:
    frames, grid = _inputs((2, 1, 64, 128, 1, 1), torch.float16)
    frames[0] = frames[1] + 1e-2 * (frames[0] - 0.5)

    def loss(*x: Tensor) -> Tensor:
        return ops.patch_max_loss(*x, **grid, backend=backend)

    exact = [x.double() for x in frames]
    truth = _with_gradient(lambda *x: reference(*x, **grid), exact, 2.0**15)[1]
    assert float(truth.abs().mean()) / 2**15 < torch.finfo(torch.float16).smallest_normal / 10
    torch.testing.assert_close(
        _with_gradient(loss, frames, 2.0**15)[1].double(), truth, rtol=2e-3, atol=1e-6
    )


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # NumPy's, in the interpreter
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_the_worst(value: float, backend: str) -> None:
    (p, t), grid = _inputs(SMALL)
    p[1, 1, 3, 0] = value

    def fused(*x: Tensor) -> Tensor:
        return ops.patch_max_loss(*x, **grid, backend=backend)

    found = _with_gradient(fused, [p, t])
    assert not found[0].isfinite()
    wanted = _with_gradient(lambda *x: reference(*x, **grid), [p, t])
    torch.testing.assert_close(found[0], wanted[0], equal_nan=True)
    torch.testing.assert_close(found[1][0], wanted[1][0])  # the other sample
    assert not found[1][1, 1, 3, 0].isfinite()
    assert not found[1][1, :, :2].any()
    # An infinite gradient from above does not spread to the patches that are not the worst.
    p[1, 1, 3, 0] = 9.0
    assert int((_with_gradient(fused, [p, t], float("inf"))[1] == 0).sum()) == p.numel() * 5 // 6


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_calls_agree_in_every_bit_and_inputs_stay_as_they_are(backend: str) -> None:
    frames, grid = _inputs(SHAPES[4])
    before = [x.clone() for x in frames]
    first, second = (
        _with_gradient(lambda *x: ops.patch_max_loss(*x, **grid, backend=backend), frames)
        for _ in range(2)
    )
    assert all(torch.equal(x, y) for x, y in zip(first, second, strict=True))
    assert all(torch.equal(x, y) for x, y in zip(frames, before, strict=True))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("last", "trained"), [(False, True), (True, False)])
def test_opcheck(backend: str, last: bool, trained: bool) -> None:
    (p, t), _ = _inputs(SMALL)
    if last:
        p, t = (x.to(memory_format=torch.channels_last) for x in (p, t))
    torch.library.opcheck(_forward, (p.requires_grad_(trained), t, 2, 3, backend))
    loss, worst = _forward(p.detach(), t, 2, 3, backend)
    torch.library.opcheck(_backward, (p.detach(), t, worst, loss, 2, 3, backend))


@pytest.mark.parametrize("backend", BACKENDS)
def test_compiles_into_one_graph_and_exports(backend: str) -> None:
    class Loss(torch.nn.Module):
        def forward(self, p: Tensor, t: Tensor) -> Tensor:
            return 2 * ops.patch_max_loss(p.tanh(), t, rows=2, columns=3, backend=backend)

    (frames, _), layer = _inputs(SMALL), Loss()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(_with_gradient(compiled, frames), _with_gradient(layer, frames))
    exported = torch.export.export(layer, tuple(frames)).module()
    torch.testing.assert_close(exported(*frames), layer(*frames))


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda p, t: (p[0], t), ValueError, r"predicted must be \[B, C, H, W\] and not empty"),
        (lambda p, t: (p[:0], t), ValueError, r"not empty, got \[0, 2, 4, 6\]"),
        (lambda p, t: (p, t[:1]), ValueError, r"target must be \[2, 2, 4, 6\] .* got \[1, 2, 4, 6\]"),
        (lambda p, t: (p.byte(), t), TypeError, r"predicted must be float32, .* got torch.uint8"),
        (lambda p, t: (p, t.byte()), TypeError, r"target must be float32, .* got torch.uint8"),
        (lambda p, t: (p, t.to("meta")), TypeError, "target must be on cpu like predicted, got one on meta"),
        (lambda p, t: (p, t.requires_grad_()), ValueError, "target is a constant .* detach it"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(
    change: Callable[..., tuple[Tensor, ...]], error: type[Exception], words: str
) -> None:
    frames, grid = _inputs(SMALL)
    with pytest.raises(error, match=words):
        ops.patch_max_loss(*change(*frames), **grid)
    with torch.no_grad():  # without gradients a constant may require one
        ops.patch_max_loss(frames[0], frames[1].requires_grad_(), **grid)


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ({"rows": 3, "columns": 3}, "rows must divide H, 4, got 3; pad or resize"),
        ({"rows": 2, "columns": 4}, "columns must divide W, 6, got 4; pad or resize"),
        ({"rows": 0, "columns": 3}, "rows must divide H, 4, got 0"),
    ],
)
def test_patches_divide_the_frame(grid: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ops.patch_max_loss(*_inputs(SMALL)[0], **grid)


def test_a_named_backend_runs_or_raises() -> None:
    (p, t), grid = _inputs(SMALL)
    with pytest.raises(
        ops.BackendError, match=r"'triton' computes in float32, .* got torch.float64"
    ):
        ops.patch_max_loss(p, t.double(), **grid, backend="triton")
    with pytest.raises(ValueError, match="backend must be one of auto, triton, torch, got 'cuda'"):
        ops.patch_max_loss(p, t, **grid, backend="cuda")
    sample = ops.sample("patch_max_loss", torch.device("cpu"), torch.float32)
    assert [v.backend for v in ops.explain("patch_max_loss", *sample)] == ["triton", "torch"]


def test_there_is_no_second_derivative() -> None:
    (p, t), grid = _inputs(SMALL)
    loss = ops.patch_max_loss(p.requires_grad_(), t, **grid)
    (gradient,) = torch.autograd.grad(loss, p, create_graph=True)
    with pytest.raises(RuntimeError, match="no autograd formula was registered"):
        gradient.sum().backward()
