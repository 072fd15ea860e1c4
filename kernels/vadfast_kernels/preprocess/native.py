r"""A camera's picture in the model's size, by the compiled core (csrc/core/preprocess.cpp and .cu); no torch is needed.

The picture is converted to RGB, cut to its crop and resized, bilinear with pixel centres at (i + 1/2) in / out - 1/2 and borders
repeated::

    x[i]        =  (i + 1/2) W_in / W_out - 1/2,  rows alike
    out[j, i]   =  round( sum over the 2 x 2 samples about (y[j], x[i]) of weight * rgb )

Every sample is converted, rounded and clamped before it is blended. YUV is BT.601, limited range::

    R = 1.164 (Y - 16) + 1.596 (V - 128)
    G = 1.164 (Y - 16) - 0.813 (V - 128) - 0.391 (U - 128)
    B = 1.164 (Y - 16) + 2.018 (U - 128)

Source: OpenCV, ``cv2.cvtColor`` of the whole picture and then ``cv2.resize(..., INTER_LINEAR)``, which models are trained with, and its
bits: coefficients of colours are in units of 2^-20, weights in units of 2^-11, and both rows' parts are cut to a quarter of a level
before they are added and rounded.

Shapes (uint8; a row may begin anywhere, within a row there are no gaps)

    rgb, bgr    [H, W, 3]
    gray        [H, W]
    nv12        [3 H / 2, W], or a tuple: y [H, W] and uv [H / 2, W] or [H / 2, W / 2, 2]
    i420        [3 H / 2, W], contiguous, or a tuple: y [H, W], u and v [H / 2, W / 2]
    out         [height, width, 3], RGB

Numbers
    arithmetic  integers; the same bits on every CPU and on CUDA. A picture that has the size already is converted exactly.
    memory      nothing beyond the results: the CPU works on the stack, CUDA in registers.
    work        only the 2 x 2 samples of each output pixel are converted: of a picture that shrinks fourfold, a quarter.
    threads     one; the GIL is released, so cameras may have threads of their own. CUDA takes 64 pictures a launch.

Raises:
    ValueError    shapes, sizes, strides or crops that cannot be right; an odd size or crop of nv12 and i420; an ``out`` that is read-only
                  or overlaps a picture or another one; pictures and results on several devices.
    TypeError     something that is not uint8, or no array.
    RuntimeError  CUDA refuses, or this build has none.
    BackendError  there is no compiled module.

    Where it raises, nothing was written.

Example:
    >>> import numpy as np
    >>> gray = np.array([[0, 100], [200, 100]], np.uint8)
    >>> preprocess(gray, format="gray", size=(1, 1))
    array([[[100, 100, 100]]], dtype=uint8)
    >>> preprocess(gray, format="gray", size=(2, 4))[0, :, 0]      # the border is repeated, then 3 : 1 and 1 : 3
    array([  0,  25,  75, 100], dtype=uint8)
"""

from typing import Any

import numpy as np

from vadfast_kernels import _native

Crop = tuple[int, int, int, int]


def preprocess(
    picture: Any,
    *,
    format: str = "rgb",
    size: tuple[int, int] | None = None,
    crop: Crop | list[Crop | None] | None = None,
    out: Any = None,
    stream: int = 0,
) -> Any:
    """Returns ``picture`` as RGB in the model's size; the docstring of this module is the contract.

    Args:
        picture: an array, or the tuple of its planes, of NumPy or of any library that speaks DLPack. A list of these is several cameras
            in one call: ``crop`` may then be a list too, ``out`` and the result are lists.
        format: "rgb", "bgr", "gray", "nv12" or "i420".
        size: height and width of the result; not needed where ``out`` is given, whose size it must then be.
        crop: the region (x, y, width, height) that is resized; None: everything.
        out: where the result goes, as the slot of a ring; not where the picture is. Pictures on CUDA need it.
        stream: on CUDA the address of the stream, of the current device; the call does not wait for it.
    """
    is_one = not isinstance(picture, list)
    pictures = [picture] if is_one else picture
    crops = crop if isinstance(crop, list) else [crop] * len(pictures)
    _check_size(size, is_needed=out is None)
    if out is None:
        outs = [np.empty((*size, 3), np.uint8) for _ in pictures]  # type: ignore[misc]
    else:
        outs = [out] if is_one else out
    _native.module().preprocess(
        pictures, outs, format, crops, size=size, is_one=is_one, stream=stream
    )
    return outs[0] if is_one else outs


def _check_size(size: Any, *, is_needed: bool) -> None:
    if size is None and not is_needed:
        return
    sides = size if isinstance(size, tuple | list) else ()
    if len(sides) != 2 or not all(isinstance(n, int | np.integer) and n > 0 for n in sides):
        raise ValueError(
            "preprocess: size must be (height, width) of at least 1 x 1, or None where out is given, "
            f"got {size!r}"
        )
