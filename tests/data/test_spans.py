"""Labels and their spans are the same thing."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vadfast.data.labels import from_spans, spans_of


def test_spans_are_the_runs_of_ones() -> None:
    assert spans_of(np.array([1, 0, 1, 1, 0, 0, 1], np.uint8)) == [(0, 0), (2, 3), (6, 6)]
    assert spans_of(np.zeros(3, np.uint8)) == []
    assert spans_of(np.ones(3, np.uint8)) == [(0, 2)]
    assert spans_of(np.array([False, True])) == [(1, 1)]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 1), min_size=1, max_size=30))
def test_labels_come_back(labels: list[int]) -> None:
    of_film = np.array(labels, np.uint8)
    found = from_spans(spans_of(of_film), len(labels), where="test")
    np.testing.assert_array_equal(found, of_film)
