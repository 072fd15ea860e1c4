"""The teachers' pictures: bytes that say what was seen, within the error that is stated, and what they leave out on purpose."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vadfast.models import mtl
from vadfast.teachers.codes import flow_picture, magnitude_of, scene_picture

MAX_PX = 64.0


def _flow(x: float, y: float) -> np.ndarray:
    return np.full((1, 1, 2), (x, y), np.float32)


INSIDE, OUTSIDE = np.ones((1, 1), np.uint8), np.zeros((1, 1), np.uint8)


@given(st.floats(0, 63.9))
def test_a_movement_comes_back_within_the_stated_error(px: float) -> None:
    code = float(flow_picture(_flow(px, 0), INSIDE, MAX_PX)[0, 0, 0])
    bound = np.sqrt(MAX_PX * px) / 255 + MAX_PX / 510**2
    assert abs(magnitude_of(code, MAX_PX) - px) <= bound * 1.0001 + 1e-6


def test_fast_movers_stand_out_and_count_as_the_end_of_the_code_beyond_it() -> None:
    codes = [flow_picture(_flow(px, 0), INSIDE, MAX_PX)[0, 0, 0] for px in (3, 12, 48, 64, 500)]
    assert codes == sorted(codes)
    assert [round(float(magnitude_of(float(c), MAX_PX))) for c in codes] == [3, 12, 48, 64, 64]


def test_a_direction_is_told_where_something_moves_and_nowhere_else() -> None:
    _, cos, sin = flow_picture(_flow(-3, 4), INSIDE, MAX_PX)[0, 0].tolist()
    assert (cos, sin) == (round(255 * 0.6), round(255 * 0.8))
    assert flow_picture(_flow(0.3, 0.39), INSIDE, MAX_PX)[0, 0, 1:].tolist() == [0, 0]  # 0.49 px
    assert flow_picture(_flow(0.3, 0.41), INSIDE, MAX_PX)[0, 0, 1:].any()  # 0.51 px
    code, *direction = flow_picture(_flow(-3, 4), OUTSIDE, MAX_PX)[0, 0].tolist()
    assert direction == [0, 0]
    assert code > 0  # how fast is kept; who reads it multiplies by the mask


def test_the_model_reads_what_was_written() -> None:
    rng = np.random.default_rng(0)
    flow = rng.uniform(-9, 9, (32, 32, 2)).astype(np.float32)
    index = rng.integers(0, 3, (32, 32)).astype(np.uint8)
    depth = rng.uniform(0, 1, (32, 32)).astype(np.float32)
    pictures = np.stack([flow_picture(flow, index, MAX_PX), scene_picture(index, depth)])
    config = mtl.MTLConfig.parse(
        {"image_size": 32, "width": 4, "segmentation": {"teacher": "masks", "folder": "x", "n_classes": 3}},
        where="test",
    )  # fmt: skip
    network = mtl.Network(config)
    network.movement_scale.fill_(4.0)
    taught = network.taught(torch.from_numpy(pictures)[None].permute(0, 1, 4, 2, 3).float())
    magnitude = np.hypot(*np.moveaxis(flow, 2, 0)) * (index > 0)
    assert np.abs(taught.movement[0, 0].numpy() * 4 - magnitude).max() < 0.12
    cos = np.abs(flow[..., 0]) / np.hypot(*np.moveaxis(flow, 2, 0))
    cos *= magnitude >= 0.5
    assert np.abs(taught.context[0, 0].numpy() - cos).max() <= 0.502 / 255
    assert np.abs(taught.context[0, 2].numpy() - depth).max() <= 0.502 / 255
    np.testing.assert_array_equal(taught.semantic[0].numpy(), np.eye(3)[index].transpose(2, 0, 1))


@pytest.mark.parametrize("wanted", ["index", "onehot"])
def test_the_literal_target_is_one_channel_of_the_index(wanted: str) -> None:
    config = mtl.MTLConfig(image_size=32, width=4, semantic=wanted)
    pictures = torch.zeros(1, 2, 3, 1, 2)
    pictures[0, 1, 0, 0, 1] = 1.0
    semantic = mtl.Network(config).taught(pictures).semantic[0, :, 0].tolist()
    assert semantic == ([[0.0, 1.0]] if wanted == "index" else [[1.0, 0.0], [0.0, 1.0]])
