"""A calibrator's saved bytes: the same on every machine, checked before they are believed, and a restart that goes on where it was."""

import struct
from functools import cache

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from vadfast_kernels import _native
from vadfast_kernels.score_chain.watch import Calibrator

from tests.native.made_scores import WATCH, draw, learned, watching

if (reason := _native.refusal()) is not None:
    pytest.skip(f"no compiled module: it {reason}", allow_module_level=True)


def test_a_restart_goes_on_where_it_was() -> None:
    x, y = draw("gamma", 30_000), draw("gamma", 5_000, seed=9) + 0.5
    straight = watching(x, **WATCH)
    straight.push(y)
    broken = watching(x, **WATCH)
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
    calibrator = watching(x, **WATCH)
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


TIED = st.sampled_from([0.0, 1.0]) | st.sampled_from(
    [5.0, -5.0, 1e-3, 5e-324, -5e-324, 3e-323, 1e300, -1e300]
)


@given(
    values=st.lists(st.tuples(TIED, st.integers(1, 900)), min_size=1, max_size=6),
    tail_quantile=st.sampled_from([0.5, 0.9, 0.98]),
    max_excesses=st.sampled_from([32, 1000]),
)
@example(values=[(0.0, 3999), (5.0, 1)], tail_quantile=0.98, max_excesses=1000)
@example(values=[(-1e300, 2000), (1e300, 2000)], tail_quantile=0.98, max_excesses=1000)
@example(values=[(0.0, 2000), (5e-324, 40), (3e-323, 1)], tail_quantile=0.98, max_excesses=1000)
@settings(max_examples=150, deadline=None)
def test_whatever_was_pushed_comes_back(
    values: list[tuple[float, int]], tail_quantile: float, max_excesses: int
) -> None:
    """Scores of few values, among them the largest and the smallest: it is saved, restored, drifts as far as it may and is saved again."""
    x = np.concatenate([np.full(n, value) for value, n in values])
    options = WATCH | {"half_life_frames": 1.0, "clip": 1e6, "max_drift": 1e6}
    options |= {"tail_quantile": tail_quantile, "max_excesses": max_excesses}
    learner, watcher = learned(x, **options), Calibrator(**options)
    watcher.restore(learner.save())
    assert watcher.save() == learner.save()
    assert watcher.middle == learner.middle
    watcher.push(np.resize([1e300, -1e300, 5e-324, 0.0], 400))
    watcher.push(np.full(400, -1e300))
    assert np.isfinite(watcher.middle).all()
    saved = watcher.save()
    watcher.restore(saved)
    assert watcher.save() == saved


def test_one_score_above_many_equal_ones_has_a_tail() -> None:
    calibrator = learned(np.array([0.0] * 3999 + [5.0]))
    assert 1e-5 < calibrator.tail(1.0) < 1e-3
    assert 0.2 < calibrator.threshold(1e-4) < 5
    Calibrator().restore(calibrator.save())


@cache
def _saved() -> bytes:
    return learned(draw("gamma", 3_000)).save()


def _fnv(data: bytes) -> bytes:
    total = 0xCBF29CE484222325
    for byte in data:
        total = (total ^ byte) * 0x100000001B3 % 2**64
    return total.to_bytes(8, "little")


def _assert_refused(data: bytes) -> None:
    calibrator = learned(draw("gamma", 2_000, seed=2))
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
