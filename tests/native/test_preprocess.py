"""``_C.preprocess`` against OpenCV, bit for bit: every format, size and crop; every refusal without a trace."""

import doctest
import platform
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from vadfast_kernels import _native
from vadfast_kernels.preprocess import native
from vadfast_kernels.preprocess.native import preprocess
from vadfast_kernels.preprocess.reference import preprocess as reference

if (reason := _native.refusal()) is not None:
    pytest.skip(f"no compiled module: it {reason}", allow_module_level=True)

FORMATS = ("nv12", "i420", "bgr", "rgb", "gray")
YUV = ("nv12", "i420")
# Height and width, from and to: cameras' sizes; by whole and odd factors; up; to and from a line; beyond the 256 columns of a strip.
SIZES = (
    ((1080, 1920), (256, 256)), ((360, 480), (256, 256)), ((240, 360), (256, 256)), ((720, 1280), (225, 399)),
    ((256, 256), (256, 256)), ((512, 512), (256, 256)), ((768, 768), (256, 256)), ((64, 64), (256, 512)),
    ((34, 46), (257, 513)), ((100, 1000), (99, 999)), ((2, 2), (7, 300)), ((2, 600), (1, 1)), ((600, 2), (3, 255)),
)  # fmt: skip


def _picture(format: str, height: int, width: int, seed: int = 0) -> np.ndarray:
    shape = {"gray": (height, width), "bgr": (height, width, 3), "rgb": (height, width, 3)}
    random = np.random.default_rng(seed)
    return random.integers(0, 256, shape.get(format, (height * 3 // 2, width)), dtype=np.uint8)


def _planes(picture: np.ndarray, format: str) -> tuple[np.ndarray, ...]:
    """The planes of a stacked picture, each with memory of its own whose rows have room at their ends."""
    height, width = picture.shape[0] // 3 * 2, picture.shape[1]
    luma, chroma = picture[:height], picture[height:]
    if format == "nv12":
        planes = [luma, chroma]
    else:
        planes = [luma, *chroma.reshape(2, height // 2, width // 2)]
    return tuple(np.pad(plane, ((0, 0), (0, 5)))[:, : plane.shape[1]] for plane in planes)


# The bits of OpenCV where its own code resizes; elsewhere a vendor's code in it may round otherwise.
TOLERANCE = 0 if platform.machine() == "x86_64" else 1


def _assert_opencvs(found: np.ndarray, wanted: np.ndarray) -> None:
    assert found.shape == wanted.shape
    assert np.abs(found.astype(int) - wanted.astype(int)).max() <= TOLERANCE


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(("size", "to"), SIZES)
def test_the_bits_of_opencv(format: str, size: tuple[int, int], to: tuple[int, int]) -> None:
    picture = _picture(format, *size)
    found = preprocess(picture, format=format, size=to)
    _assert_opencvs(found, reference(picture, format=format, size=to))


@settings(max_examples=300, deadline=None)
@given(
    data=st.data(),
    format=st.sampled_from(FORMATS),
    to=st.tuples(st.integers(1, 80), st.integers(1, 600)),
)
def test_any_size_crop_and_pitch(data: st.DataObject, format: str, to: tuple[int, int]) -> None:
    step = 2 if format in YUV else 1

    def a_side(most: int) -> int:
        return step * data.draw(st.integers(1, most // step))

    height, width = a_side(60), a_side(90)
    crop = None
    if data.draw(st.booleans()):
        w, h = a_side(width), a_side(height)
        x, y = (step * data.draw(st.integers(0, rest // step)) for rest in (width - w, height - h))
        crop = (x, y, w, h)
    picture = _picture(format, height, width, seed=data.draw(st.integers(0, 99)))
    wanted = reference(picture, format=format, size=to, crop=crop)

    given_as: Any = picture
    if data.draw(st.booleans()):
        pad = ((0, 0), (0, 3)) + ((0, 0),) * (picture.ndim - 2)
        given_as = _planes(picture, format) if format in YUV else np.pad(picture, pad)[:, :width]
    canvas = np.full((to[0] + 2, to[1] + 2, 3), 77, np.uint8)
    out = canvas[1:-1, 1:-1]
    assert preprocess(given_as, format=format, crop=crop, out=out) is out
    _assert_opencvs(out, wanted)
    out[...] = 77
    assert (canvas == 77).all()  # nothing was written beside it


@pytest.mark.parametrize("format", FORMATS)
def test_of_the_same_size_exactly_the_conversion(format: str) -> None:
    picture = _picture(format, 62, 700)
    found = preprocess(picture, format=format, size=(62, 700))
    np.testing.assert_array_equal(found, reference(picture, format=format, size=(62, 700)))


def test_every_colour_is_opencvs() -> None:
    """All pairs of u and v, each with every eighth luma and those about the ends of the range."""
    for first in (0, 3, 13, 14, 15, 16, 232, 235, 236):
        luma = np.arange(first, first + 4 * 8, 8).clip(0, 255).reshape(2, 2)
        u, v = np.meshgrid(np.arange(256), np.arange(256))
        chroma = np.stack([u, v], axis=2).reshape(256, 512)
        picture = np.concatenate([np.tile(luma, (256, 256)), chroma]).astype(np.uint8)
        found = preprocess(picture, format="nv12", size=(512, 512))
        np.testing.assert_array_equal(found, reference(picture, format="nv12", size=(512, 512)))


def test_planes_may_be_given_one_by_one() -> None:
    for format in YUV:
        picture = _picture(format, 48, 64)
        wanted = preprocess(picture, format=format, size=(20, 30))
        planes = _planes(picture, format)
        np.testing.assert_array_equal(preprocess(planes, format=format, size=(20, 30)), wanted)
    luma, pairs = _planes(picture := _picture("nv12", 48, 64), "nv12")
    wanted = preprocess(picture, format="nv12", size=(20, 30))
    pairs = pairs.copy().reshape(24, 32, 2)
    np.testing.assert_array_equal(preprocess((luma, pairs), format="nv12", size=(20, 30)), wanted)


def test_several_cameras_in_one_call() -> None:
    pictures = [_picture("nv12", 40 + 2 * i, 50, seed=i) for i in range(5)]
    crops: list[Any] = [None, (0, 0, 2, 2), None, (10, 4, 30, 20), (48, 38, 2, 2)]
    found = preprocess(pictures, format="nv12", size=(33, 44), crop=crops)
    assert len(found) == 5
    for one, picture, crop in zip(found, pictures, crops, strict=True):
        alone = preprocess(picture, format="nv12", size=(33, 44), crop=crop)
        np.testing.assert_array_equal(one, alone)
    assert preprocess([], format="rgb", size=(3, 3)) == []


def test_arrays_of_other_libraries() -> None:
    picture, out = torch.arange(48, dtype=torch.uint8).reshape(4, 4, 3), torch.zeros(2, 2, 3)
    made = preprocess(picture, format="rgb", out=out.byte())
    wanted = preprocess(picture.numpy(), format="rgb", size=(2, 2))
    np.testing.assert_array_equal(made.numpy(), wanted)


GOOD = {"format": "rgb", "picture": _picture("rgb", 6, 8)}
LUMA = np.zeros((6, 8), np.uint8)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"format": "yuyv"}, ValueError, "format must be nv12, i420, bgr, rgb or gray, got yuyv"),
        ({"picture": np.zeros((6, 8, 3))}, TypeError, "must be uint8, got float64"),
        ({"picture": "picture"}, TypeError, "must be an array"),
        ({"picture": np.zeros((6, 8, 4), np.uint8)}, ValueError, r"\[H, W, 3\], got uint8 \[6, 8, 4\]"),
        ({"picture": np.zeros((0, 8, 3), np.uint8)}, ValueError, "at least 1 x 1"),
        ({"picture": GOOD["picture"][:, ::2]}, ValueError, "no gaps"),
        ({"picture": GOOD["picture"][..., ::-1]}, ValueError, "no gaps"),
        ({"picture": GOOD["picture"][::-1]}, ValueError, "pitch.* got -24"),
        ({"picture": np.broadcast_to(GOOD["picture"][:1], (6, 8, 3))}, ValueError, "got 0"),
        ({"format": "nv12", "picture": np.zeros((10, 8), np.uint8)}, ValueError, "3 divides"),
        ({"format": "nv12", "picture": np.zeros((9, 7), np.uint8)}, ValueError, "even sides"),
        ({"format": "nv12", "picture": (LUMA,)}, ValueError, "2 planes, got 1"),
        ({"format": "nv12", "picture": (LUMA, LUMA)}, ValueError, r"\[3, 8\], got uint8 \[6, 8\]"),
        ({"format": "i420", "picture": (LUMA, LUMA[::2, ::2], LUMA[::2, :4])}, ValueError, "no gaps"),
        ({"format": "i420", "picture": _picture("i420", 8, 8)[:, :6]}, ValueError, "no gaps"),
        ({"crop": (0, 0, 0, 0)}, ValueError, "at least 1 x 1, or None for everything, got 0 x 0"),
        ({"crop": (0, 0, 9, 6)}, ValueError, "lie in the picture of 8 x 6"),
        ({"crop": (2**31 - 1, 0, 1, 1)}, ValueError, "lie in the picture"),
        ({"format": "i420", "picture": _picture("i420", 8, 8), "crop": (1, 0, 2, 2)}, ValueError, "must be even"),
        ({"out": np.zeros((3, 4), np.uint8)}, ValueError, r"outs\[1\] must be \[height, width, 3\]"),
        ({"out": np.zeros((3, 4, 3), np.float32)}, TypeError, "must be uint8"),
        ({"out": np.zeros((3, 0, 3), np.uint8)}, ValueError, r"outs\[1\] must be .* at least 1 x 1"),
        ({"out": np.frombuffer(bytes(36), np.uint8).reshape(3, 4, 3)}, ValueError, "writable"),
    ],
)  # fmt: skip
def test_bad_input_leaves_no_trace(
    change: dict[str, Any], error: type[Exception], words: str
) -> None:
    call = GOOD | {"out": np.zeros((3, 4, 3), np.uint8), "crop": None} | change
    first = np.full((3, 4, 3), 7, np.uint8)
    good = {"nv12": _picture("nv12", 6, 8), "i420": _picture("i420", 6, 8)}
    picture = good.get(call["format"], GOOD["picture"])
    with pytest.raises(error, match=words):
        preprocess(
            [picture, call["picture"]],
            format=call["format"],
            crop=[None, call["crop"]],
            out=[first, call["out"]],
        )
    assert (first == 7).all()  # not even of the first picture, which is good


ANY = st.one_of(st.integers(-4, 12), st.integers(-(2**31), 2**31 - 1))


@settings(max_examples=300, deadline=None)
@given(format=st.sampled_from(FORMATS), crop=st.tuples(ANY, ANY, ANY, ANY))
def test_any_crop_is_refused_or_right(format: str, crop: tuple[int, int, int, int]) -> None:
    picture = _picture(format, 6, 8)
    x, y, w, h = crop
    inside = x >= 0 and y >= 0 and w >= 1 and h >= 1 and x + w <= 8 and y + h <= 6
    if inside and (format not in YUV or not any(side % 2 for side in crop)):
        found = preprocess(picture, format=format, size=(5, 5), crop=crop)
        _assert_opencvs(found, reference(picture, format=format, size=(5, 5), crop=crop))
    else:
        with pytest.raises(ValueError, match="crop"):
            preprocess(picture, format=format, size=(5, 5), crop=crop)


def test_what_is_missing() -> None:
    with pytest.raises(ValueError, match="size must be"):
        preprocess(GOOD["picture"])
    with pytest.raises(ValueError, match="as many as pictures, 2, got 1 and 2"):
        preprocess([GOOD["picture"]] * 2, out=[np.zeros((3, 4, 3), np.uint8)])


def test_the_docstrings_examples() -> None:
    assert doctest.testmod(native).attempted > 0
    assert doctest.testmod(native).failed == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU")
class TestCuda:
    """The bits of the CPU."""

    @staticmethod
    def _both(
        pictures: list[Any], to: list[tuple[int, int]], **options: Any
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        outs = [np.zeros((*size, 3), np.uint8) for size in to]
        preprocess(pictures, out=outs, **options)
        there = [torch.zeros((*size, 3), dtype=torch.uint8, device="cuda") for size in to]
        stream = torch.cuda.current_stream().cuda_stream
        moved = [torch.from_numpy(p).cuda() for p in pictures]
        preprocess(moved, out=there, stream=stream, **options)
        return outs, [x.cpu().numpy() for x in there]

    @pytest.mark.parametrize("format", FORMATS)
    @pytest.mark.parametrize(("size", "to"), SIZES)
    def test_sizes(self, format: str, size: tuple[int, int], to: tuple[int, int]) -> None:
        cpu, cuda = self._both([_picture(format, *size)], [to], format=format)
        np.testing.assert_array_equal(cuda[0], cpu[0])

    def test_more_cameras_than_a_launch_takes_each_of_its_own_size(self) -> None:
        n = 150
        pictures = [_picture("nv12", 2 + 2 * (i % 40), 2 + 2 * (i % 60), seed=i) for i in range(n)]
        to = [(1 + i % 70, 1 + i % 130) for i in range(n)]
        crops = [(0, 0, p.shape[1], p.shape[0] // 3 * 2) if i % 2 else None for i, p in enumerate(pictures)]  # fmt: skip
        cpu, cuda = self._both(pictures, to, format="nv12", crop=crops)
        for one, other in zip(cpu, cuda, strict=True):
            np.testing.assert_array_equal(other, one)

    def test_both_kinds_of_memory_in_one_call(self) -> None:
        out = torch.zeros((3, 4, 3), dtype=torch.uint8, device="cuda")
        with pytest.raises(ValueError, match="on one device"):
            preprocess(GOOD["picture"], out=out)
