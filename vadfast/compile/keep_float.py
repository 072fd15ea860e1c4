"""Finds the layers that must stay in float: how much each of them costs alone, then by bisection how many.

Alone, each layer's error is that of a model in which only it is in 8 bits. Sorted by it, the fewest of the worst are kept in float
with which the whole is near enough: halving the interval finds their number, because each further one in float takes error away. An
AUC does not fall so steadily, nor do alerts, so what is near enough and still fails by these gets further layers one by one.
"""

import math
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple


class Trial(NamedTuple):
    """How a model with some layers in float does."""

    near: bool  # its scores and heat maps are within the bounds
    passes: bool  # so are its AUC and its alerts


def layers_in_float(
    layers: Sequence[str],
    error_alone: Callable[[str], float],
    attempt: Callable[[Collection[str]], Trial],
) -> tuple[str, ...] | None:
    """Returns the layers to keep, worst first; None where not even one may be in 8 bits.

    Args:
        layers: all that could be.
        error_alone: the error of a model with only this layer in 8 bits; anything that grows with it.
        attempt: how a model with these layers in float does.

    >>> cost = {"first": 3.0, "middle": 1.0, "last": 9.0}
    >>> def attempt(kept):
    ...     near = sum(cost.values()) - sum(map(cost.get, kept)) < 5
    ...     return Trial(near, near)
    >>> layers_in_float(list(cost), cost.get, attempt)
    ('last',)
    """
    whole = attempt(())
    if whole.passes:
        return ()
    order = sorted(layers, key=lambda layer: -error_alone(layer))
    trials = {0: whole, len(order): Trial(True, False)}  # all in float is nothing in 8 bits

    def at(n: int) -> Trial:
        if n not in trials:
            trials[n] = attempt(order[:n])
        return trials[n]

    too_few, enough = (0, len(order)) if not whole.near else (-1, 0)
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        too_few, enough = (too_few, middle) if at(middle).near else (middle, enough)
    return next((tuple(order[:n]) for n in range(enough, len(order)) if at(n).passes), None)


def usual_attempts(n_layers: int) -> int:
    """How often ``attempt`` is asked where what is near enough passes."""
    return 1 + math.ceil(math.log2(max(n_layers, 2)))
