"""Spatial metrics on maps of a few cells, whose values follow by hand."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from vadfast.errors import SourceError
from vadfast.evaluate.cells import MaskedVideo, masked_video, shares
from vadfast.evaluate.regions import area_to_one, detect, region_metrics
from vadfast.evaluate.spatial import spatial_metrics

MASK_PX = 4  # pixels of a mask along each side of a cell


def made(heat: Any, masks: Any, *, tracks: Any = None, name: str = "v") -> MaskedVideo:
    """A video whose masks are given cell by cell, a pixel block each."""
    maps = np.array(heat, np.float32)
    fine = np.array(masks, bool).repeat(MASK_PX, axis=1).repeat(MASK_PX, axis=2)
    rows = None if tracks is None else np.array(tracks, np.int64)
    return masked_video(name, maps, fine, first_frame=0, tracks=rows)


def test_shares_are_areas_whatever_the_grid() -> None:
    mask = np.zeros((6, 9), bool)
    mask[:3, :3] = True
    np.testing.assert_allclose(shares(mask, (2, 3)), [[1, 0, 0], [0, 0, 0]])
    # Cells of 3 x 4.5 pixels: three of the first one's 4.5 columns.
    np.testing.assert_allclose(shares(mask, (2, 2)), [[2 / 3, 0], [0, 0]], atol=1e-6)
    # A mask of fewer pixels than cells.
    np.testing.assert_allclose(shares(np.array([[True, False]]), (2, 4)), [[1, 1, 0, 0]] * 2)
    rng = np.random.default_rng(0)
    ragged = rng.random((240, 360)) < 0.3
    assert shares(ragged, (32, 32)).mean() == pytest.approx(ragged.mean(), abs=1e-5)


#: A normal frame, then one whose left half (10 cells of 20) is abnormal.
NORMAL = np.zeros((4, 5))
HALF = np.zeros((4, 5))
HALF[:, :2] = 1  # 8 cells


def frame(*levels: tuple[float, int], true: NDArray[Any] = HALF) -> NDArray[Any]:
    """A map that gives ``n`` abnormal cells each level."""
    heat = np.zeros_like(true)
    places = np.argwhere(true)
    start = 0
    for level, n in levels:
        for row, column in places[start : start + n]:
            heat[row, column] = level
        start += n
    return heat


def test_a_frame_is_a_hit_from_40_percent_of_its_abnormal_pixels_on() -> None:
    normal = np.full((4, 5), 0.0)
    normal[0, 4] = 0.5
    # 3 of 8 cells (37.5 %) lie above the false alarm's 0.5, the fourth below: no hit before the alarm.
    missed = made([normal, frame((0.9, 3), (0.4, 5))], [NORMAL, HALF])
    found = spatial_metrics([missed])
    assert found is not None
    assert found.pixel_level == 0.0
    # 4 of 8 above it: a hit without a false alarm.
    hit = spatial_metrics([made([normal, frame((0.9, 4), (0.4, 4))], [NORMAL, HALF])])
    assert hit is not None
    assert (hit.pixel_level, hit.pixel_level_eer, hit.dual_pixel) == (1.0, 0.0, 1.0)
    # 2 of 5 are 40 % exactly: enough.
    row = np.zeros((4, 5))
    row[0] = 1
    exactly = spatial_metrics([made([normal, frame((0.9, 2), true=row)], [NORMAL, row])])
    assert exactly is not None
    assert exactly.pixel_level == 1.0


def test_dual_pixel_wants_10_percent_of_what_is_flagged_to_be_true() -> None:
    one = np.zeros((4, 5))
    one[0, 0] = 1  # one abnormal cell of 20
    everywhere = np.full((4, 5), 0.9)
    normal = np.full((4, 5), 0.1)
    found = spatial_metrics([made([normal, everywhere], [NORMAL, one])])
    assert found is not None
    assert found.pixel_level == 1.0  # all flagged: certainly 40 % of the abnormal
    assert found.dual_pixel == 0.0  # 1 of 20 flagged cells is true
    two = one.copy()
    two[0, 1] = 1  # 2 of 20: 10 %
    found = spatial_metrics([made([normal, everywhere], [NORMAL, two])])
    assert found is not None
    assert found.dual_pixel == 1.0


def test_dual_pixel_can_lose_a_hit_again() -> None:
    one = np.zeros((4, 5))
    one[0, 0] = 1
    heat = np.full((4, 5), 0.5)
    heat[0, 0] = 0.9
    # Above 0.5 the one flagged cell is the true one; below, it is one of 20.
    normals = [np.full((4, 5), 0.7), np.full((4, 5), 0.3)]
    found = spatial_metrics([made([*normals, heat], [NORMAL, NORMAL, one])])
    assert found is not None
    # (0, 1) just above 0.7, (1/2, 1) at 0.7; just above 0.3 all is flagged: (1/2, 0), (1, 0).
    assert found.dual_pixel == pytest.approx(0.5)
    assert found.pixel_level == 1.0


def test_per_pixel_is_the_auc_of_all_pixels() -> None:
    rng = np.random.default_rng(1)
    heat = rng.integers(0, 6, (3, 4, 5)).astype(np.float32)
    masks = rng.random((3, 12, 15)) < 0.3  # cells of 3 x 3 pixels, in part abnormal
    masks[0] = False
    video = masked_video("v", heat, masks, first_frame=0, tracks=None)
    found = spatial_metrics([video])
    assert found is not None
    fine = heat.repeat(3, axis=1).repeat(3, axis=2)
    assert found.per_pixel == pytest.approx(roc_auc_score(masks.ravel(), fine.ravel()), abs=1e-6)


def test_a_region_is_found_from_an_iou_of_a_tenth_on() -> None:
    truth = np.zeros((1, 4, 5))
    truth[0, :2, :] = 1  # 10 cells
    one_cell = np.zeros((1, 4, 5))
    one_cell[0, 0, 0] = 1  # IoU 1 / 10
    found, n_false = detect(made(one_cell, truth), 0.5)
    assert (found.tolist(), n_false) == ([True], 0)
    two = np.zeros((1, 4, 5))
    two[0, 1:4, 0] = 1  # 3 cells, one inside: IoU 1 / 12
    found, n_false = detect(made(two, truth), 0.5)
    assert (found.tolist(), n_false) == ([False], 1)


def test_regions_of_one_frame_do_not_touch_those_of_the_next() -> None:
    truth = np.zeros((2, 3, 3))
    truth[0, 0, 0] = truth[1, 2, 2] = 1
    heat = truth.copy()
    heat[1, 0, 0] = 1  # a false one at the place of the frame before
    found, n_false = detect(made(heat, truth), 0.5)
    assert (found.tolist(), n_false) == ([True, True], 1)


def test_rbdc_by_hand() -> None:
    truth = np.zeros((2, 3, 5))
    truth[0, 0, 0] = truth[1, 0, 0] = 1
    heat = np.zeros((2, 3, 5))
    heat[0, 0, 0], heat[1, 0, 0] = 0.9, 0.5
    heat[0, 2, 2], heat[1, 2, 4] = 0.7, 0.3
    # At 0.9: 1/2 found, none false; 0.7: 1/2, 1/2 false a frame; 0.5: 1, 1/2; 0.3: 1, 1; 0: whole frames of 15 cells, IoU 1/15.
    metrics = region_metrics([made(heat, truth)])
    assert metrics is not None
    assert (metrics.n_regions, metrics.tbdc) == (2, None)
    assert metrics.rbdc == pytest.approx(0.5 * 0.5 + 0.5 * 1)


def test_a_perfect_map_has_an_rbdc_of_1_and_an_empty_one_of_0() -> None:
    truth = np.zeros((2, 4, 5))
    truth[0, 1, 1:3] = truth[1, 3, 3] = 1
    perfect = region_metrics([made(truth, truth)])
    assert perfect is not None
    assert perfect.rbdc == 1.0
    blind = region_metrics([made(np.zeros_like(truth), truth)])  # flags whole frames or nothing
    assert blind is not None
    # 2 of 20 cells are 10 %, so whole frames find half of it with 1/2 false a frame.
    assert blind.rbdc == pytest.approx(0.5 * 0.25 + 0.5 * 0.5)


def test_the_area_ends_at_one_false_positive_a_frame() -> None:
    assert area_to_one([0, 0, 2], [0, 0.5, 0.5]) == pytest.approx(0.5)
    assert area_to_one([0, 2], [0, 1]) == pytest.approx(0.25)  # the line reaches 1/2 at 1
    assert area_to_one([0, 0.5], [0, 1]) == pytest.approx(0.25 + 0.5)  # flat behind its end
    # A threshold that finds less with more false ones is never the better choice.
    assert area_to_one([0, 0, 0.5, 1], [0, 1, 0.2, 1]) == pytest.approx(1)


def test_tbdc_wants_a_tenth_of_a_tracks_regions() -> None:
    n = 11
    heat = np.zeros((n, 3, 5))
    heat[0, 0, 0] = 1  # track 0 is found in 1 of 10 frames, track 7 in 1 of 11
    heat[0, 2, 4] = 1
    corner = [0, 0, MASK_PX - 1, MASK_PX - 1]
    other = [4 * MASK_PX, 2 * MASK_PX, 5 * MASK_PX - 1, 3 * MASK_PX - 1]
    tracks = [[0, t, *corner] for t in range(10)] + [[7, t, *other] for t in range(n)]
    metrics = region_metrics([made(heat, np.zeros((n, 3, 5)), tracks=tracks)])
    assert metrics is not None
    assert (metrics.n_regions, metrics.n_tracks) == (21, 2)
    assert metrics.rbdc == pytest.approx(2 / 21)
    assert metrics.tbdc == pytest.approx(1 / 2)


def test_boxes_before_the_first_map_are_left_out() -> None:
    masks = np.zeros((3, 8, 8), bool)
    tracks = np.array([[0, 0, 0, 0, 3, 3], [0, 1, 0, 0, 3, 3]])
    heat = np.zeros((2, 2, 2), np.float32)
    video = masked_video("v", heat, masks, first_frame=1, tracks=tracks)
    assert video.regions.cell.tolist() == [0]
    assert video.regions.size.tolist() == [1.0]


def test_what_cannot_be_measured_is_none_or_named() -> None:
    truth = np.zeros((2, 4, 5))
    assert spatial_metrics([]) is None
    assert spatial_metrics([made(truth, truth)]) is None  # nothing abnormal
    assert spatial_metrics([made(truth, truth + 1)]) is None  # nothing normal
    with pytest.raises(SourceError, match="masks of v must cover 3 frames, got 2"):
        masked_video("v", np.zeros((3, 2, 2), np.float32), np.zeros((2, 4, 4), bool), first_frame=0, tracks=None)  # fmt: skip
