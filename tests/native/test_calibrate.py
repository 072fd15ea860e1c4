"""``_C.Calibrator``: ranks within the stated error, false alarms as promised, and what it refuses.

Seeds are fixed and the bounds are 4 standard errors of what is measured, so a test that fails has found something.
"""

import doctest
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from vadfast_kernels import _native
from vadfast_kernels.score_chain import reference, watch
from vadfast_kernels.score_chain.watch import Calibrator

from tests.native.made_scores import DISTRIBUTIONS, draw, learned

if (reason := _native.refusal()) is not None:
    pytest.skip(f"no compiled module: it {reason}", allow_module_level=True)

# ------------------------------------------------------------------------------------------------ quantiles

SHARES = (0.0, 0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98, 0.99, 0.999, 1.0)


def _assert_ranks(calibrator: Calibrator, x: np.ndarray) -> None:
    """A value stands for all ranks between those below it and those up to it: equal scores have many."""
    ordered = np.sort(x)
    for q in SHARES:
        value = calibrator.quantile(q)
        below, up_to = (
            np.searchsorted(ordered, value, side) / len(x) for side in ("left", "right")
        )
        allowed = 2 * math.pi / 1000 * math.sqrt(q * (1 - q)) + 1 / len(x)
        assert below - allowed <= q <= up_to + allowed, (q, value)


@pytest.mark.parametrize("order", ["random", "ascending", "descending", "waves"])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_ranks_are_within_the_stated_error(name: str, order: str) -> None:
    x = draw(name, 60_000)
    x = {
        "random": x,
        "ascending": np.sort(x),
        "descending": np.sort(x)[::-1],
        "waves": np.sort(x).reshape(60, 1000).T.ravel(),
    }[order]
    _assert_ranks(learned(np.ascontiguousarray(x)), x)


@given(st.lists(st.sampled_from([-1.0, -0.0, 0.0, 0.5, 2.0, 1e300, -1e300]) | st.floats(-10, 10),
                min_size=1, max_size=300))  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_few_scores_and_equal_ones(scores: list[float]) -> None:
    x = np.array(scores)
    calibrator = learned(x)
    _assert_ranks(calibrator, x)
    assert calibrator.quantile(0.0) == x.min()
    assert calibrator.quantile(1.0) == x.max()
    values = [calibrator.quantile(q) for q in np.linspace(0, 1, 41)]
    assert values == sorted(values)


def test_ten_million_scores_in_the_same_memory() -> None:
    calibrator = Calibrator()
    random = np.random.default_rng(0)
    part = random.gamma(3, size=100_000)
    for _ in range(100):
        calibrator.push(part)
    assert len(calibrator.save()) < 17_000
    _assert_ranks(calibrator, part)


def test_the_middle_is_median_and_mad() -> None:
    for name in DISTRIBUTIONS:
        x = draw(name, 20_001)
        median, scale = learned(x).middle
        wanted_median, wanted_scale = reference.middle(x)
        # Both are quantiles: half a percent in rank is at most 3 % of the scale where the density is least.
        assert abs(median - wanted_median) < 0.01 * wanted_scale
        assert abs(scale - wanted_scale) < 0.03 * wanted_scale
    assert learned(np.full(5000, 2.5)).middle == (2.5, 0.0)


def test_asking_changes_nothing_and_how_scores_arrive_neither() -> None:
    x = draw("gamma", 7_000)
    asked, silent = Calibrator(), Calibrator()
    silent.push(x)
    for part in np.split(x, [1, 2, 900, 5000]):
        asked.push(part)
        _ = asked.quantile(0.3), asked.middle, asked.save()
    assert asked.save() == silent.save()


# ------------------------------------------------------------------------------------------------ tail


@pytest.mark.parametrize("shape", [-0.4, -0.1, 0.0, 0.2, 0.4])
def test_the_tail_is_the_generalised_pareto_it_was_made_of(shape: float) -> None:
    """Excesses over a threshold of a generalised Pareto are one with the same shape: the fit must find it, and SciPy's formulas agree."""
    made = stats.genpareto(shape, scale=2.0)
    x = made.rvs(50_000, random_state=np.random.default_rng(3))
    calibrator = learned(x, tail_quantile=0.9, max_excesses=5000)
    u, share, found, scale = reference.tail_fit(x, 0.9, 5000)
    assert share == pytest.approx(0.1, abs=2 / len(x))  # rounded down, so one less at times
    # Hosking and Wallis, table 1: the standard deviation of the shape by moments is about sqrt(1.3 / n) for shapes in these bounds.
    assert abs(found - shape) < 4 * math.sqrt(1.3 / 5000)
    fitted = stats.genpareto(found, scale=scale)
    for probability in (0.05, 0.01, 1e-3, 1e-4, 1e-6):
        threshold = calibrator.threshold(probability)
        assert threshold == pytest.approx(u + fitted.isf(probability / share), rel=1e-9)
        assert calibrator.tail(threshold) == pytest.approx(probability, rel=1e-9)


def _standard_error(x: np.ndarray, probability: float, max_excesses: int) -> float:
    """Relative standard error of the rate above a threshold, by the delta method.

    Of the share above the tail's threshold, and of the moments' shape and scale: Hosking and Wallis 1987, section 4, whose k is -shape.
    """
    _, share, shape, scale = reference.tail_fit(x, 0.98, max_excesses)
    if probability >= share:
        rank = 2 * math.pi / 1000 * math.sqrt(probability * (1 - probability))
        return 1 / math.sqrt(len(x) * probability) + rank / 4 / probability
    k, z = -shape, stats.genpareto(shape, scale=scale).isf(probability / share)
    inside = 1 + shape * z / scale
    by_scale = z / (scale**2 * inside)
    by_k = -(math.log(inside) / shape**2 - z / scale / (shape * inside))
    covariance = np.array([
        [scale**2 * (7 + 18 * k + 11 * k**2 + 2 * k**3), scale * (2 + k) * (2 + 6 * k + 7 * k**2 + 2 * k**3)],
        [scale * (2 + k) * (2 + 6 * k + 7 * k**2 + 2 * k**3), (1 + k) * (2 + k) ** 2 * (1 + k + 2 * k**2)],
    ]) / ((1 + 2 * k) * (3 + 2 * k)) / (share * len(x))  # fmt: skip
    slope = np.array([by_scale, by_k])
    return math.sqrt(slope @ covariance @ slope + (1 - share) / (share * len(x)))


@pytest.mark.parametrize("probability", [0.05, 0.01, 1e-3, 1e-4])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_false_alarms_come_as_often_as_promised(name: str, probability: float) -> None:
    """On fresh scores (their exact rate above the threshold, as if there were no end of them): within 4 standard errors of the promise.

    The end of a bounded tail is known to a few percent of it: there the rate may be none at all.
    """
    x = draw(name, 200_000, seed=7)
    threshold = learned(x, max_excesses=4000).threshold(probability)
    rate = float(DISTRIBUTIONS[name].sf(threshold))
    assert abs(rate / probability - 1) < 4 * _standard_error(x, probability, 4000)


def test_false_alarms_are_counted_on_fresh_scores() -> None:
    """The same by counting: a day of one camera, 25 frames a second, ten false alarms a day, on a calibration of two hours."""
    probability = 10 / (86_400 * 25)
    x = draw("gamma", 180_000, seed=11)
    threshold = learned(x, max_excesses=3600).threshold(probability)
    n_days = 5
    counted = sum(
        int((draw("gamma", 2_160_000, seed=100 + day) > threshold).sum()) for day in range(n_days)
    )
    wanted = 10 * n_days
    error = math.hypot(1 / math.sqrt(wanted), _standard_error(x, probability, 3600))
    assert abs(counted / wanted - 1) < 4 * error


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_beyond_what_was_seen(name: str) -> None:
    """One in a million from 100,000 scores: by the delta method the log of the rate has a standard error of 1.1 ... 1.4 there."""
    calibrator = learned(draw(name, 100_000, seed=5), max_excesses=2000)
    rate = float(DISTRIBUTIONS[name].sf(calibrator.threshold(1e-6)))
    # The fit cannot be right for distributions that are no generalised Pareto at the 98 % quantile: a factor of 30 covers both.
    assert rate < 30e-6


def test_quantiles_and_tail_meet_and_never_rise() -> None:
    for name in DISTRIBUTIONS:
        x = draw(name, 30_000)
        calibrator = learned(x, max_excesses=400)
        scores = np.linspace(x.min() - 1, x.max() + 1, 400)
        tails = [calibrator.tail(score) for score in scores]
        assert tails == sorted(tails, reverse=True)
        assert tails[0] == 1
        thresholds = [calibrator.threshold(p) for p in np.geomspace(1e-7, 1, 100)]
        assert thresholds == sorted(thresholds, reverse=True)


def test_scores_that_are_equal_have_a_tail_of_nothing() -> None:
    calibrator = learned(np.full(5000, 2.0))
    assert calibrator.threshold(1e-6) == 2.0
    assert calibrator.tail(2.1) == 0


# ------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("tail_quantile", 0.4),
        ("tail_quantile", 1.0),
        ("tail_quantile", np.nan),
        ("max_excesses", 31),
        ("max_excesses", 16385),
        ("half_life_frames", -1.0),
        ("half_life_frames", 0.5),
        ("half_life_frames", np.inf),
        ("clip", 0.0),
        ("clip", np.nan),
        ("max_drift", -0.1),
        ("max_drift", np.inf),
    ],
)
def test_options_that_cannot_be_right(option: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"vad_calibrator_create: {option} must be"):
        Calibrator(**{option: value})


def test_questions_before_there_is_an_answer() -> None:
    empty, few = Calibrator(), learned(np.arange(1500.0))
    for question in (empty.save, lambda: empty.middle, lambda: empty.quantile(0.5)):
        with pytest.raises(ValueError, match="must have seen scores, got none; push normal video"):
            question()
    for question in (lambda: few.threshold(1e-3), lambda: few.tail(3.0)):
        with pytest.raises(ValueError, match="at least 32 scores above tail_quantile, got 1500"):
            question()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1e301])
def test_numbers_that_cannot_be_right(bad: float) -> None:
    calibrator = learned(np.arange(5000.0))
    before = calibrator.save()
    with pytest.raises(ValueError, match=r"scores\[1\] must be finite"):
        calibrator.push(np.array([1.0, bad]))
    with pytest.raises(ValueError, match="score must be finite"):
        calibrator.tail(bad)
    with pytest.raises(ValueError, match=r"quantile must be in \[0, 1\]"):
        calibrator.quantile(bad)
    with pytest.raises(ValueError, match="probability must be above 0 and at most 1"):
        calibrator.threshold(bad)
    with pytest.raises(ValueError, match="probability must be above 0"):
        calibrator.threshold(0.0)
    assert calibrator.save() == before


def test_the_example_runs() -> None:
    result = doctest.testmod(watch)
    assert result.attempted > 0
    assert result.failed == 0
