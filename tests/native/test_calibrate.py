"""``_C.Calibrator``: ranks within the stated error, false alarms as promised, a middle that nobody leads away, bytes that are checked.

Seeds are fixed and the bounds are 4 standard errors of what is measured, so a test that fails has found something.
"""

import doctest
import math
import struct
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from vadfast_kernels import _native
from vadfast_kernels.score_chain import reference, watch
from vadfast_kernels.score_chain.watch import Calibrator

if (reason := _native.refusal()) is not None:
    pytest.skip(f"no compiled module: it {reason}", allow_module_level=True)

# What scores may look like: light, heavy and bounded tails, skew, and few distinct values.
DISTRIBUTIONS = {
    "normal": stats.norm(),
    "exponential": stats.expon(),
    "gamma": stats.gamma(3),
    "lognormal": stats.lognorm(0.5),
    "student, 5": stats.t(5),
    "uniform": stats.uniform(),
}


def _draw(name: str, n: int, seed: int = 1) -> np.ndarray:
    return DISTRIBUTIONS[name].rvs(n, random_state=np.random.default_rng(seed))


def _learned(x: np.ndarray, **options: float) -> Calibrator:
    calibrator = Calibrator(**options)
    calibrator.push(x)
    return calibrator


def _watching(x: np.ndarray, **options: float) -> Calibrator:
    calibrator = Calibrator(**options)
    calibrator.restore(_learned(x).save())
    return calibrator


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
    x = _draw(name, 60_000)
    x = {
        "random": x,
        "ascending": np.sort(x),
        "descending": np.sort(x)[::-1],
        "waves": np.sort(x).reshape(60, 1000).T.ravel(),
    }[order]
    _assert_ranks(_learned(np.ascontiguousarray(x)), x)


@given(st.lists(st.sampled_from([-1.0, -0.0, 0.0, 0.5, 2.0, 1e300, -1e300]) | st.floats(-10, 10),
                min_size=1, max_size=300))  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_few_scores_and_equal_ones(scores: list[float]) -> None:
    x = np.array(scores)
    calibrator = _learned(x)
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
        x = _draw(name, 20_001)
        median, scale = _learned(x).middle
        wanted_median, wanted_scale = reference.middle(x)
        # Both are quantiles: half a percent in rank is at most 3 % of the scale where the density is least.
        assert abs(median - wanted_median) < 0.01 * wanted_scale
        assert abs(scale - wanted_scale) < 0.03 * wanted_scale
    assert _learned(np.full(5000, 2.5)).middle == (2.5, 0.0)


def test_asking_changes_nothing_and_how_scores_arrive_neither() -> None:
    x = _draw("gamma", 7_000)
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
    calibrator = _learned(x, tail_quantile=0.9, max_excesses=5000)
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
    x = _draw(name, 200_000, seed=7)
    threshold = _learned(x, max_excesses=4000).threshold(probability)
    rate = float(DISTRIBUTIONS[name].sf(threshold))
    assert abs(rate / probability - 1) < 4 * _standard_error(x, probability, 4000)


def test_false_alarms_are_counted_on_fresh_scores() -> None:
    """The same by counting: a day of one camera, 25 frames a second, ten false alarms a day, on a calibration of two hours."""
    probability = 10 / (86_400 * 25)
    x = _draw("gamma", 180_000, seed=11)
    threshold = _learned(x, max_excesses=3600).threshold(probability)
    n_days = 5
    counted = sum(
        int((_draw("gamma", 2_160_000, seed=100 + day) > threshold).sum()) for day in range(n_days)
    )
    wanted = 10 * n_days
    error = math.hypot(1 / math.sqrt(wanted), _standard_error(x, probability, 3600))
    assert abs(counted / wanted - 1) < 4 * error


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_beyond_what_was_seen(name: str) -> None:
    """One in a million from 100,000 scores: by the delta method the log of the rate has a standard error of 1.1 ... 1.4 there."""
    calibrator = _learned(_draw(name, 100_000, seed=5), max_excesses=2000)
    rate = float(DISTRIBUTIONS[name].sf(calibrator.threshold(1e-6)))
    # The fit cannot be right for distributions that are no generalised Pareto at the 98 % quantile: a factor of 30 covers both.
    assert rate < 30e-6


def test_quantiles_and_tail_meet_and_never_rise() -> None:
    for name in DISTRIBUTIONS:
        x = _draw(name, 30_000)
        calibrator = _learned(x, max_excesses=400)
        scores = np.linspace(x.min() - 1, x.max() + 1, 400)
        tails = [calibrator.tail(score) for score in scores]
        assert tails == sorted(tails, reverse=True)
        assert tails[0] == 1
        thresholds = [calibrator.threshold(p) for p in np.geomspace(1e-7, 1, 100)]
        assert thresholds == sorted(thresholds, reverse=True)


def test_scores_that_are_equal_have_a_tail_of_nothing() -> None:
    calibrator = _learned(np.full(5000, 2.0))
    assert calibrator.threshold(1e-6) == 2.0
    assert calibrator.tail(2.1) == 0


# ------------------------------------------------------------------------------------------------ drift

WATCH = {"half_life_frames": 2000.0, "clip": 3.0, "max_drift": 0.5}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_it_stays_where_nothing_changes(name: str) -> None:
    """Also where the distribution is skewed, and a mean would leave the median."""
    calibrator = _watching(_draw(name, 50_000), **WATCH)
    start, start_scale = calibrator.middle
    calibrator.push(_draw(name, 100_000, seed=2))
    median, scale = calibrator.middle
    # A mean over about 2 x 2000 / ln 2 scores of size 1, 4 standard errors, and the error of the learned quantiles.
    assert abs(median - start) < 0.12 * start_scale
    assert abs(scale / start_scale - 1) < 0.15


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_it_follows_light_that_moves_and_stretches_all_scores(name: str) -> None:
    calibrator = _watching(_draw(name, 50_000), **WATCH)
    start, scale = calibrator.middle
    threshold = calibrator.threshold(1e-3)
    calibrator.push(1.3 * _draw(name, 100_000, seed=2) + 0.8 * scale)
    found, wanted = calibrator.middle, (1.3 * start + 0.8 * scale, 1.3 * scale)
    assert abs(found[0] - wanted[0]) < 0.15 * wanted[1]
    assert abs(found[1] / wanted[1] - 1) < 0.15
    moved = 1.3 * threshold + 0.8 * scale
    assert abs(calibrator.threshold(1e-3) - moved) < 0.15 * (moved - wanted[0]) + 0.15 * wanted[1]
    assert calibrator.tail(calibrator.threshold(1e-3)) == pytest.approx(1e-3, rel=1e-6)


def test_a_patient_intruder_gets_no_further_than_max_drift() -> None:
    """He knows the threshold, and stays just below it, so that no alarm freezes the calibrator."""
    calibrator = _watching(_draw("normal", 50_000), **WATCH)
    start, scale = calibrator.middle
    for half_life in range(1, 11):
        for _ in range(2000):
            calibrator.push(np.array([calibrator.threshold(1e-4) * 0.999]))
        median, now = calibrator.middle
        assert median - start <= half_life * WATCH["max_drift"] * scale * (1 + 1e-12)
        assert now <= scale * (1 + half_life * WATCH["max_drift"]) * (1 + 1e-12)
    assert median - start > 2 * scale  # he does get somewhere: the bound is what stops him


def test_one_wild_score_counts_as_a_high_one() -> None:
    wild, high = (_watching(_draw("normal", 50_000), **WATCH) for _ in range(2))
    wild.push(np.array([1e9]))
    median, scale = high.middle
    high.push(np.array([median + 3 * scale]))
    assert wild.middle == pytest.approx(high.middle, rel=1e-12)


def test_a_night_of_still_pictures_leaves_a_quarter_of_the_scale() -> None:
    calibrator = _watching(_draw("normal", 50_000), **WATCH)
    median, scale = calibrator.middle
    calibrator.push(np.full(100_000, median))
    assert calibrator.middle[1] == pytest.approx(scale / 4)


def test_an_alarm_freezes_everything() -> None:
    learner = _learned(_draw("gamma", 10_000))
    watcher = _watching(_draw("gamma", 10_000), **WATCH)
    for calibrator in (learner, watcher):
        before = calibrator.save()
        calibrator.push(np.full(5000, 50.0), frozen=True)
        assert calibrator.save() == before
        calibrator.push(np.full(5000, 50.0))
        assert calibrator.save() != before


def test_without_a_half_life_nothing_moves() -> None:
    calibrator = _watching(_draw("gamma", 10_000))
    before = calibrator.save()
    calibrator.push(np.full(5000, 50.0))
    assert calibrator.save() == before


# ------------------------------------------------------------------------------------------------ saved bytes


def test_a_restart_goes_on_where_it_was() -> None:
    x, y = _draw("gamma", 30_000), _draw("gamma", 5_000, seed=9) + 0.5
    straight = _watching(x, **WATCH)
    straight.push(y)
    broken = _watching(x, **WATCH)
    broken.push(y[:1234])
    again = Calibrator(**WATCH)
    again.restore(broken.save())
    again.push(y[1234:])
    assert again.save() == straight.save()
    assert again.quantile(0.7) == straight.quantile(0.7)


def test_the_bytes_are_the_same_on_every_machine() -> None:
    """Scores made of integers only, so that nothing here depends on a library; csrc/tests/score_test.cpp has the same sum from C."""
    i = np.arange(1, 40_001, dtype=np.float64)
    x = (i * 7919 % 10_007) / 1024 + (i * 104_729 % 1_009) ** 2 / 65_536
    calibrator = _watching(x, **WATCH)
    calibrator.push(x[:10_000] + 0.25)
    saved = calibrator.save()
    assert struct.unpack("<II", saved[:8]) == (0x43444156, 1)
    assert saved[-8:] == _fnv(saved[:-8])
    assert f"{int.from_bytes(saved[-8:], 'little'):016x}" == "2de50d7d8c71e0c1"
    answers = [calibrator.threshold(1e-6), calibrator.tail(24.0), calibrator.quantile(0.123)]
    assert [answer.hex() for answer in answers] == [
        "0x1.98933c1bf798ap+4",
        "0x1.ff263abbb73a4p-9",
        "0x1.f71f676d03452p+1",
    ]


@cache
def _saved() -> bytes:
    return _learned(_draw("gamma", 3_000)).save()


def _fnv(data: bytes) -> bytes:
    total = 0xCBF29CE484222325
    for byte in data:
        total = (total ^ byte) * 0x100000001B3 % 2**64
    return total.to_bytes(8, "little")


def _assert_refused(data: bytes) -> None:
    calibrator = _learned(_draw("normal", 2_000))
    before = calibrator.save()
    with pytest.raises(
        ValueError, match=r"vad_calibrator_restore: bytes must be .*; calibrate again"
    ):
        calibrator.restore(data)
    assert calibrator.save() == before


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_any_changed_byte_is_found(data: st.DataObject) -> None:
    saved = bytearray(_saved())
    at = data.draw(st.integers(0, len(saved) - 1))
    saved[at] ^= data.draw(st.integers(1, 255))
    _assert_refused(bytes(saved))


@given(st.binary(max_size=400), st.integers(0, 400))
@settings(max_examples=100, deadline=None)
def test_any_other_bytes_are_refused(other: bytes, cut: int) -> None:
    _assert_refused(other)
    _assert_refused(_saved()[:-8][: len(_saved()) - 9 - cut] + other)
    _assert_refused(_saved() + other[:8] if other else b"")


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_right_checksum_over_wrong_words_makes_nothing_that_breaks(data: st.DataObject) -> None:
    """Words are changed and the checksum is made right: either it is refused, or the calibrator that comes of it answers."""
    words = bytearray(_saved()[:-8])
    for _ in range(data.draw(st.integers(1, 3))):
        at = 8 * data.draw(st.integers(0, 40))
        word = data.draw(
            st.binary(min_size=8, max_size=8) | st.floats(width=64).map(lambda f: struct.pack("<d", f))
            | st.integers(-(2**63), 2**63 - 1).map(lambda i: struct.pack("<q", i))
        )  # fmt: skip
        words[at : at + 8] = word
    calibrator = Calibrator(**WATCH)
    try:
        calibrator.restore(bytes(words) + _fnv(words))
    except ValueError:
        return
    calibrator.push(np.linspace(-1e300, 1e300, 100))
    assert np.isfinite(calibrator.middle).all()
    assert isinstance(calibrator.quantile(0.5), float)
    assert len(calibrator.save()) == len(words) + 8


def test_another_version_is_named() -> None:
    words = bytearray(_saved()[:-8])
    words[4] = 2
    calibrator = Calibrator()
    with pytest.raises(ValueError, match="must be of version 1, got version 2"):
        calibrator.restore(bytes(words) + _fnv(words))


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
    empty, few = Calibrator(), _learned(np.arange(1500.0))
    for question in (empty.save, lambda: empty.middle, lambda: empty.quantile(0.5)):
        with pytest.raises(ValueError, match="must have seen scores, got none; push normal video"):
            question()
    for question in (lambda: few.threshold(1e-3), lambda: few.tail(3.0)):
        with pytest.raises(ValueError, match="at least 32 scores above tail_quantile, got 1500"):
            question()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1e301])
def test_numbers_that_cannot_be_right(bad: float) -> None:
    calibrator = _learned(np.arange(5000.0))
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
