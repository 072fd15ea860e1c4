"""Executes score chains: raw components in, one anomaly score per frame out, high = abnormal.

The array form feeds the streaming form frame by frame wherever a step is causal, so a table and a
camera compute the same bits.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from vadfast.errors import UsageError
from vadfast.runtime.manifest import (
    Calibration,
    Chain,
    Component,
    ExponentialMean,
    MinMax,
    RobustZ,
    Step,
)

Array = npt.NDArray[np.float64]


def run_chain(
    chain: Chain,
    spec: Sequence[Component],
    components: npt.ArrayLike,
    calibration: Calibration | None = None,
) -> Array:
    """Returns the anomaly score float64 [n] of one whole video from its ``components`` [n, K].

    Raises:
        UsageError: a step needs a calibration and none is given, or a weight names no component.
        ValueError: ``components`` is not [n, K].
    """
    x = np.asarray(components, dtype=np.float64)
    if x.ndim != 2 or x.shape[1] != len(spec):
        raise ValueError(
            f"components must be [n, {len(spec)}] ({_names(spec)}), got {list(x.shape)}"
        )
    score = np.zeros(len(x))
    for column, weight in _weighted(chain, spec):
        y = _sign(spec[column]) * x[:, column]
        for step in chain.steps:
            y = _run_step(step, y, spec[column], calibration)
        score += weight * y
    return score


class ChainState:
    """The streaming form of a causal chain: one camera's or one film's state, a few floats."""

    def __init__(
        self, chain: Chain, spec: Sequence[Component], calibration: Calibration | None = None
    ) -> None:
        """Raises UsageError for a chain that is not causal or lacks its calibration."""
        self._n_components = len(spec)
        self._columns = [
            (
                column,
                _sign(spec[column]),
                weight,
                [_stepper(s, spec[column], calibration) for s in chain.steps],
            )
            for column, weight in _weighted(chain, spec)
        ]

    def push(self, components: npt.ArrayLike) -> float:
        """Returns the score of the next frame from its ``components`` [K]."""
        x = np.asarray(components, dtype=np.float64)
        if x.shape != (self._n_components,):
            raise ValueError(f"components must be [{self._n_components}], got {list(x.shape)}")
        score = 0.0
        for column, sign, weight, steppers in self._columns:
            y = sign * float(x[column])
            for stepper in steppers:
                y = stepper.push(y)
            score += weight * y
        return score


class _Standardise:
    def __init__(self, component: Component, calibration: Calibration | None) -> None:
        if calibration is None:
            raise UsageError(
                f"robust_z: component {component.name!r} needs a calibration on normal video, got "
                "none; "
                "use the bundle, or calibrate first"
            )
        if component.name not in calibration.components:
            raise UsageError(
                f"robust_z: the calibration must hold component {component.name!r}, it holds "
                f"{', '.join(calibration.components) or 'none'}; compile the run again"
            )
        statistics = calibration.components[component.name]
        # The statistics are in the component's own unit; the signal's sign is turned already.
        self._median = _sign(component) * statistics.median
        self._scale = statistics.scale

    def push(self, x: float) -> float:
        return (x - self._median) / self._scale


class _Smooth:
    def __init__(self, step: ExponentialMean) -> None:
        self._gain = 1.0 - 2.0 ** (-1.0 / step.half_life_frames)
        self._mean: float | None = None

    def push(self, x: float) -> float:
        self._mean = x if self._mean is None else self._mean + (x - self._mean) * self._gain
        return self._mean


def _stepper(
    step: Step, component: Component, calibration: Calibration | None
) -> _Standardise | _Smooth:
    match step:
        case RobustZ():
            return _Standardise(component, calibration)
        case ExponentialMean():
            return _Smooth(step)
        case MinMax():
            raise UsageError(
                "chain: a causal chain must hold robust_z and exponential_mean only, got minmax, "
                "which needs the "
                "whole video; use run_chain on all frames"
            )


def _run_step(step: Step, x: Array, component: Component, calibration: Calibration | None) -> Array:
    if isinstance(step, MinMax):
        return _minmax(x)
    stepper = _stepper(step, component, calibration)
    return np.fromiter((stepper.push(value) for value in x.tolist()), np.float64, len(x))


def _minmax(x: Array) -> Array:
    if len(x) == 0:
        return x
    low, high = x.min(), x.max()
    if low == high:
        return np.zeros_like(x)
    result: Array = (x - low) / (high - low)
    return result


def _weighted(chain: Chain, spec: Sequence[Component]) -> list[tuple[int, float]]:
    columns = {component.name: column for column, component in enumerate(spec)}
    unknown = [name for name in chain.weights if name not in columns]
    if unknown:
        raise UsageError(
            f"chain: weights must name components ({_names(spec)}), got {unknown[0]!r}; compile "
            "the run again"
        )
    return [(columns[name], weight) for name, weight in chain.weights.items()]


def _sign(component: Component) -> float:
    return 1.0 if component.high_is == "abnormal" else -1.0


def _names(spec: Sequence[Component]) -> str:
    return ", ".join(component.name for component in spec)
