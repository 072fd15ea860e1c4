"""The strides of frames: any view of any memory is the formula, and strides that cannot be counted are refused before a value is read."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vadfast_kernels import _native
from vadfast_kernels.frame_score.native import frame_score
from vadfast_kernels.frame_score.reference import frame_score as reference

from tests.native.fake_dlpack import Fake

if (reason := _native.refusal()) is not None:
    pytest.skip(f"no compiled module: it {reason}", allow_module_level=True)

SHAPE = (2, 3, 5, 7)


@st.composite
def _views(draw: st.DrawFn) -> np.ndarray:
    """Frames of SHAPE: axes in any order, backwards, with steps, or repeated from one place; bytes or float32."""
    order = draw(st.permutations(range(4)))
    steps = draw(st.tuples(*[st.sampled_from([-3, -2, -1, 1, 1, 2])] * 4))
    random = np.random.default_rng(draw(st.integers(0, 99)))
    made = [SHAPE[axis] * abs(steps[axis]) for axis in order]
    memory = random.random(made, np.float32)
    if draw(st.booleans()):
        memory = (255 * memory).astype(np.uint8)
    view = memory.transpose(np.argsort(order))[tuple(slice(None, None, step) for step in steps)]
    for axis in range(4):
        if draw(st.sampled_from([False, False, False, True])):
            view = np.broadcast_to(view.take([0], axis), view.shape)
    assert view.shape == SHAPE
    return view


@given(predicted=_views(), truth=_views())
@settings(max_examples=150, deadline=None)
def test_any_view_is_the_formula(predicted: np.ndarray, truth: np.ndarray) -> None:
    options: dict[str, Any] = {"patches": (2, 3), "heatmap": (4, 4)}
    for name, x in (("predicted_range", predicted), ("truth_range", truth)):
        options[name] = (0.0, 255.0) if x.dtype == np.uint8 else (0.0, 1.0)
    found, wanted = frame_score(predicted, truth, **options), reference(predicted, truth, **options)
    for name, mine, true in zip(found._fields, found, wanted, strict=True):
        if name != "psnr_db":  # of equal frames: the error is what it is made of
            np.testing.assert_allclose(mine, true, rtol=1e-5, atol=1e-7, err_msg=name)


@given(
    axis=st.integers(0, 3), stride=st.sampled_from([-(2**63), -(2**62), 2**60, 2**61, 2**63 - 1])
)
@settings(max_examples=40, deadline=None)
def test_strides_that_cannot_be_counted_are_refused(axis: int, stride: int) -> None:
    strides = [105, 35, 7, 1]
    strides[axis] = stride
    frames = np.zeros(SHAPE, np.float32)
    far = Fake(SHAPE, strides=tuple(strides))
    for pair, name in (((far, frames), "predicted"), ((frames, far), "truth")):
        with pytest.raises(ValueError, match=rf"{name}\.stride must span less than 2\^63 bytes"):
            frame_score(*pair)
