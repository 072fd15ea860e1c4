"""preprocess as a torch operator: both backends have OpenCV's bits, it compiles and exports, and what cannot be right is named."""

import platform
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from vadfast_kernels import ops
from vadfast_kernels.preprocess.op import FORMATS, _forward
from vadfast_kernels.preprocess.reference import preprocess as reference

BACKENDS = ("native", "torch")
PLANAR = ("nv12", "i420")
# As in tests/native: a vendor's code in OpenCV may round otherwise.
TOLERANCE = 0 if platform.machine() == "x86_64" else 1


def _pictures(format: str, n: int, height: int, width: int) -> Tensor:
    shape: tuple[int, ...] = (n, height, width, 3)
    if format not in ("rgb", "bgr"):
        shape = (n, height * 3 // 2 if format in PLANAR else height, width)
    return torch.from_numpy(np.random.default_rng(3).integers(0, 256, shape, dtype=np.uint8))


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=60, deadline=None)
@given(
    format=st.sampled_from(FORMATS),
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    corner=st.tuples(st.integers(0, 3), st.integers(0, 3)),
)
def test_the_bits_of_opencv(
    backend: str,
    format: str,
    height: int,
    width: int,
    size: tuple[int, int],
    corner: tuple[int, int],
) -> None:
    pictures = _pictures(format, 2, 2 * height + 8, 2 * width + 8)
    crop = (2 * corner[0], 2 * corner[1], 2 * width, 2 * height)
    found = ops.preprocess(pictures, size=size, format=format, crop=crop, backend=backend)
    assert found.dtype == torch.uint8
    for picture, out in zip(pictures, found, strict=True):
        wanted = reference(picture.numpy(), format=format, size=size, crop=crop)
        assert np.abs(out.numpy().astype(int) - wanted.astype(int)).max() <= TOLERANCE


@pytest.mark.parametrize("backend", BACKENDS)
def test_opcheck(backend: str) -> None:
    pictures = _pictures("nv12", 2, 8, 10)
    torch.library.opcheck(_forward, (pictures, [5, 6], "nv12", [0, 0, 10, 8], backend))


@pytest.mark.parametrize("backend", BACKENDS)
def test_compiles_into_one_graph_and_exports(backend: str) -> None:
    class Input(torch.nn.Module):
        def forward(self, picture: Tensor) -> Tensor:
            return ops.preprocess(picture, size=(4, 5), backend=backend).float() / 255

    picture, layer = _pictures("rgb", 2, 9, 7), Input()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(picture), layer(picture))
    exported = torch.export.export(layer, (picture,)).module()
    torch.testing.assert_close(exported(picture), layer(picture))


@pytest.mark.parametrize(
    ("shape", "options", "words"),
    [
        ((2, 8, 8), {}, r"picture must be \[B, H, W, 3\] and not empty, got \[2, 8, 8\]"),
        ((2, 8, 8, 4), {}, r"picture must be \[B, H, W, 3\]"),
        ((0, 8, 8, 3), {}, "not empty"),
        ((2, 8, 8), {"format": "nv12"}, "even H and W"),
        ((2, 9, 7), {"format": "i420"}, "even H and W"),
        ((2, 8, 8, 3), {"size": (0, 4)}, "size must be at least 1 x 1, got 0 x 4"),
        ((2, 8, 8, 3), {"crop": (4, 0, 5, 8)}, r"within 8 x 8, got \(4, 0, 5, 8\)"),
        ((2, 12, 8), {"format": "nv12", "crop": (1, 0, 4, 4)}, "must be even"),
        ((2, 8, 8, 3), {"format": "yuyv"}, "format must be one of rgb, bgr, gray, nv12, i420"),
        ((2, 8, 8, 3), {"backend": "cuda"}, "backend must be one of auto, native, torch"),
    ],
)
def test_what_cannot_be_right_is_named(
    shape: tuple[int, ...], options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        ops.preprocess(torch.zeros(shape, dtype=torch.uint8), **{"size": (4, 4)} | options)


def test_only_bytes_are_a_picture() -> None:
    with pytest.raises(TypeError, match=r"picture must be uint8, got torch\.float32"):
        ops.preprocess(torch.zeros(1, 4, 4, 3), size=(2, 2))


def test_meta_pictures_have_a_size_and_no_bytes() -> None:
    picture = torch.empty((2, 9, 7, 3), dtype=torch.uint8, device="meta")
    assert ops.preprocess(picture, size=(4, 5)).shape == (2, 4, 5, 3)
