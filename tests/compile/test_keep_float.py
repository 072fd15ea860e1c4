"""Which layers stay in float: the worst first, as few as will do, and never more trials than bisection needs."""

from collections.abc import Collection

from hypothesis import given
from hypothesis import strategies as st

from vadfast.compile.keep_float import Trial, layers_in_float, usual_attempts

COSTS = st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.floats(0.01, 10), min_size=1)


@given(COSTS, st.floats(0.005, 100))
def test_the_fewest_of_the_worst_are_kept(cost: dict[str, float], allowed: float) -> None:
    asked: list[Collection[str]] = []

    def attempt(kept: Collection[str]) -> Trial:
        asked.append(tuple(kept))
        near = sum(c for layer, c in cost.items() if layer not in kept) <= allowed
        return Trial(near, near)

    kept = layers_in_float(list(cost), lambda layer: cost[layer], attempt)
    worst_first = sorted(cost, key=lambda layer: -cost[layer])
    fewest = next(
        n for n in range(len(cost) + 1) if sum(cost[layer] for layer in worst_first[n:]) <= allowed
    )
    assert kept == (None if fewest == len(cost) else tuple(worst_first[:fewest]))
    assert len(asked) == len(set(asked)) <= usual_attempts(len(cost))


def test_an_auc_that_fails_takes_further_layers_one_by_one() -> None:
    layers = [f"layer {i}" for i in range(8)]
    tried = []

    def attempt(kept: Collection[str]) -> Trial:
        tried.append(len(kept))
        return Trial(near=len(kept) >= 2, passes=len(kept) == 5)

    assert layers_in_float(layers, lambda layer: -float(layer[-1]), attempt) == tuple(layers[:5])
    assert tried == [0, 4, 2, 1, 3, 5], "what the bisection tried is known"
    assert (
        layers_in_float(layers, lambda _: 0.0, lambda kept: Trial(len(kept) > 1, passes=False))
        is None
    )
