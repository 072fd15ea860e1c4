"""CUDA's memory from and to other libraries: CuPy's arrays, views of a ring, devices that are not the current one."""

from typing import Any

import numpy as np
import pytest
import torch
from vadfast_kernels import _native
from vadfast_kernels.frame_score.native import frame_score, scratch_bytes
from vadfast_kernels.preprocess.native import preprocess

if (reason := _native.refusal_on("cuda")) is not None:
    pytest.skip(f"no CUDA in the compiled module: it {reason}", allow_module_level=True)

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU"),
]

PICTURE = np.random.default_rng(0).integers(0, 256, (9, 11, 3), dtype=np.uint8)


def _ring(n_frames: int, height: int, width: int) -> Any:
    return _native.module().Ring(n_frames, height, width, device="cuda")


def test_cupys_arrays_are_read_and_written() -> None:
    cupy = pytest.importorskip("cupy")
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        picture, out = cupy.asarray(PICTURE), cupy.zeros((6, 7, 3), cupy.uint8)
        preprocess(picture, out=out, stream=stream.ptr)
        frames = out.transpose(2, 0, 1)[None]
        error = cupy.zeros(1)
        scratch = cupy.zeros(scratch_bytes(frames, frames), cupy.uint8)
        truth = cupy.zeros_like(frames)
        frame_score(frames, truth, out={"error": error}, scratch=scratch, stream=stream.ptr)
    stream.synchronize()
    wanted = preprocess(PICTURE, size=(6, 7))
    np.testing.assert_array_equal(cupy.asnumpy(out), wanted)
    np.testing.assert_allclose(cupy.asnumpy(error), [np.mean((wanted / 255.0) ** 2)], rtol=1e-6)


def test_cupy_reads_a_rings_window_and_writes_its_slot() -> None:
    cupy = pytest.importorskip("cupy")
    ring = _ring(2, 6, 7)
    for i in range(2):
        cupy.from_dlpack(ring.slot())[...] = i + 1
        _, window = ring.commit(i, cupy.cuda.get_current_stream().ptr)
    found = cupy.from_dlpack(window)
    assert cupy.asnumpy(found[:, 5, 6, 2]).tolist() == [1, 2]


def test_a_view_is_not_copied_and_does_not_move() -> None:
    slot = _ring(1, 2, 2).slot()
    kind, device = slot.__dlpack_device__()
    assert slot.__dlpack__(stream=1, max_version=(1, 0), dl_device=(kind, device), copy=False)
    with pytest.raises(BufferError, match="copy must be False or None"):
        slot.__dlpack__(copy=True)
    with pytest.raises(BufferError, match=r"dl_device must be \(2, \d+\) or None"):
        slot.__dlpack__(dl_device=(1, 0))
    with pytest.raises(TypeError):
        slot.__dlpack__(another=1)


def test_a_new_ring_is_black_before_any_stream_writes() -> None:
    """Its zeros must not come after the first frame of a stream that does not wait for the default one."""
    stream = torch.cuda.Stream()
    for _ in range(20):
        ring = _ring(1, 1024, 1024)
        with torch.cuda.stream(stream):
            torch.from_dlpack(ring.slot()).fill_(7)
        _, window = ring.commit(0, stream.cuda_stream)
        torch.cuda.synchronize()
        assert bool((torch.from_dlpack(window) == 7).all())


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="it needs two GPUs")
def test_memory_of_a_device_that_is_not_current_is_refused() -> None:
    there = [torch.zeros((4, 4, 3), dtype=torch.uint8, device="cuda:1") for _ in range(2)]
    with (
        torch.cuda.device(0),
        pytest.raises(
            ValueError, match=r"must be memory of the current device, 0, got .* device 1"
        ),
    ):
        preprocess(there[0], out=there[1])
