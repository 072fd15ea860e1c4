"""Damage for readers: any JSON at any place of a valid document, and any bytes at any place of a valid file."""

import copy
from typing import Any

from hypothesis import strategies as st

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([-1, 0, 2**31, 2**63, 10**30, 1e308, -0.0, "", "NaN", "inf", "../x", "a\nb", "a\0b", "\ud800", "x" * 5000]),
    st.floats(),
    st.text(max_size=8),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


def _containers(document: Any) -> list[Any]:
    """``document`` and all objects and lists in it that hold anything."""
    inner = document.values() if isinstance(document, dict) else document
    found = [document] if document else []
    for value in inner:
        if isinstance(value, dict | list):
            found += _containers(value)
    return found


@st.composite
def mutated(draw: st.DrawFn, document: dict[str, Any], n_most: int = 2) -> dict[str, Any]:
    """``document`` with up to ``n_most`` values replaced, taken away, doubled, moved or added, wherever they are."""
    changed = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, n_most))):
        place = draw(st.sampled_from(_containers(changed) or [changed]))
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = draw(st.sampled_from(keys)) if keys else None
        kind = draw(st.sampled_from(["replace", "delete", "add", "swap", "scale"]))
        if key is None or kind == "add":
            if isinstance(place, dict):
                place[draw(st.text(max_size=5) | st.sampled_from(["\ud800", "a\nb"]))] = draw(
                    VALUES
                )
            else:
                place.insert(draw(st.integers(0, len(place))), draw(VALUES))
        elif kind == "delete":
            del place[key]
        elif kind == "swap":
            other = draw(st.sampled_from(keys))
            place[key], place[other] = place[other], place[key]
        elif kind == "scale" and isinstance(place[key], int | float):
            place[key] = place[key] * draw(st.sampled_from([-1, 0, 0.5, 2, 1000, 1e300]))
        else:
            place[key] = draw(VALUES)
    return changed


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """``content`` with some of its bytes cut out and others put in."""
    start = draw(st.integers(0, len(content)))
    end = draw(st.integers(start, min(len(content), start + 64)) | st.just(len(content)))
    return content[:start] + draw(st.binary(max_size=16)) + content[end:]
