"""A calibrator that watches: its middle follows the light, stays where nothing changes, and nobody leads it away.

Seeds are fixed and the bounds are 4 standard errors of what is measured.
"""

import numpy as np
import pytest
from vadfast_kernels import _native

from tests.native.made_scores import DISTRIBUTIONS, WATCH, draw, learned, watching

if (reason := _native.refusal()) is not None:
    pytest.skip(f"no compiled module: it {reason}", allow_module_level=True)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_it_stays_where_nothing_changes(name: str) -> None:
    """Also where the distribution is skewed, and a mean would leave the median."""
    calibrator = watching(draw(name, 50_000), **WATCH)
    start, start_scale = calibrator.middle
    calibrator.push(draw(name, 100_000, seed=2))
    median, scale = calibrator.middle
    # A mean over about 2 x 2000 / ln 2 scores of size 1, 4 standard errors, and the error of the learned quantiles.
    assert abs(median - start) < 0.12 * start_scale
    assert abs(scale / start_scale - 1) < 0.15


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_it_follows_light_that_moves_and_stretches_all_scores(name: str) -> None:
    calibrator = watching(draw(name, 50_000), **WATCH)
    start, scale = calibrator.middle
    threshold = calibrator.threshold(1e-3)
    calibrator.push(1.3 * draw(name, 100_000, seed=2) + 0.8 * scale)
    found, wanted = calibrator.middle, (1.3 * start + 0.8 * scale, 1.3 * scale)
    assert abs(found[0] - wanted[0]) < 0.15 * wanted[1]
    assert abs(found[1] / wanted[1] - 1) < 0.15
    moved = 1.3 * threshold + 0.8 * scale
    assert abs(calibrator.threshold(1e-3) - moved) < 0.15 * (moved - wanted[0]) + 0.15 * wanted[1]
    assert calibrator.tail(calibrator.threshold(1e-3)) == pytest.approx(1e-3, rel=1e-6)


def test_a_patient_intruder_gets_no_further_than_max_drift() -> None:
    """He knows the threshold, and stays just below it, so that no alarm freezes the calibrator."""
    calibrator = watching(draw("normal", 50_000), **WATCH)
    start, scale = calibrator.middle
    for half_life in range(1, 11):
        for _ in range(2000):
            calibrator.push(np.array([calibrator.threshold(1e-4) * 0.999]))
        median, now = calibrator.middle
        assert median - start <= half_life * WATCH["max_drift"] * scale * (1 + 1e-12)
        assert now <= scale * (1 + half_life * WATCH["max_drift"]) * (1 + 1e-12)
    assert median - start > 2 * scale  # he does get somewhere: the bound is what stops him


def test_one_wild_score_counts_as_a_high_one() -> None:
    wild, high = (watching(draw("normal", 50_000), **WATCH) for _ in range(2))
    wild.push(np.array([1e9]))
    median, scale = high.middle
    high.push(np.array([median + 3 * scale]))
    assert wild.middle == pytest.approx(high.middle, rel=1e-12)


def test_a_night_of_still_pictures_leaves_a_quarter_of_the_scale() -> None:
    calibrator = watching(draw("normal", 50_000), **WATCH)
    median, scale = calibrator.middle
    calibrator.push(np.full(100_000, median))
    assert calibrator.middle[1] == pytest.approx(scale / 4)


def test_an_alarm_freezes_everything() -> None:
    learner = learned(draw("gamma", 10_000))
    watcher = watching(draw("gamma", 10_000), **WATCH)
    for calibrator in (learner, watcher):
        before = calibrator.save()
        calibrator.push(np.full(5000, 50.0), frozen=True)
        assert calibrator.save() == before
        calibrator.push(np.full(5000, 50.0))
        assert calibrator.save() != before


def test_without_a_half_life_nothing_moves() -> None:
    calibrator = watching(draw("gamma", 10_000))
    before = calibrator.save()
    calibrator.push(np.full(5000, 50.0))
    assert calibrator.save() == before
