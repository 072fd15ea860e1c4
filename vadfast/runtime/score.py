"""Executes score chains: raw components in, one anomaly score per frame out, high = abnormal.

Both forms run the steps of the native core (csrc/core/chain_video.cpp, chain_live.cpp), so a table and a camera compute the same
bits.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from vadfast_kernels.score_chain import native

from vadfast.errors import UsageError
from vadfast.runtime.manifest import (
    Calibration,
    Chain,
    Component,
    ExponentialMean,
    Gaussian,
    Median,
    MinMax,
    Reciprocal,
    RobustZ,
    SavitzkyGolay,
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
    branches = []
    for column, weight in _weighted(chain, spec):
        y = _sign(spec[column]) * x[:, column]
        for step in chain.steps:
            y = _run_step(step, y, spec[column], calibration)
        branches.append(weight * y + 0.0)  # as the core adds to nothing: -0 becomes 0
    if chain.combine == "max":
        return np.max(branches, axis=0)
    score = np.zeros(len(x))
    for branch in branches:
        score += branch
    return score


class ChainState:
    """The streaming form of a causal chain: one camera's or one film's state, a few floats."""

    def __init__(
        self, chain: Chain, spec: Sequence[Component], calibration: Calibration | None = None
    ) -> None:
        """Raises UsageError for a chain that is not causal or lacks its calibration."""
        self._n_components = len(spec)
        branches = [
            native.Branch(
                column,
                [_causal(step, spec[column], calibration) for step in chain.steps],
                weight,
                _sign(spec[column]),
            )
            for column, weight in _weighted(chain, spec)
        ]
        # The core sums; a maximum is taken here, of a chain for each component.
        parts = [branches] if chain.combine == "sum" else [[branch] for branch in branches]
        self._chains = [native.Chain(len(spec), part) for part in parts]

    def push(self, components: npt.ArrayLike) -> float:
        """Returns the score of the next frame from its ``components`` [K]."""
        x = np.asarray(components, dtype=np.float64)
        if x.shape != (self._n_components,):
            raise ValueError(f"components must be [{self._n_components}], got {list(x.shape)}")
        return max(float(chain.push(x[None])[0]) for chain in self._chains)


def _causal(step: Step, component: Component, calibration: Calibration | None) -> native.Step:
    match step:
        case RobustZ():
            return _robust_z(component, calibration)
        case ExponentialMean(half_life_frames=half_life):
            return native.ExponentialMean(half_life)
        case Gaussian(n_taps=n_taps, sigma=sigma, side="past"):
            return native.Gaussian(n_taps, sigma)
        case SavitzkyGolay(length=length, order=order, side="past"):
            return native.Savgol(length, order)
        case Median(length=length, side="past"):
            return native.Median(length)
        case _:
            raise UsageError(
                f"chain: a causal chain must hold live steps that look at the past alone, got {step.step}, "
                "which needs the whole video; use run_chain on all frames"
            )


def _robust_z(component: Component, calibration: Calibration | None) -> native.RobustZ:
    if calibration is None:
        raise UsageError(
            f"robust_z: component {component.name!r} needs a calibration on normal video, got none; "
            "use the bundle, or calibrate first"
        )
    if component.name not in calibration.components:
        raise UsageError(
            f"robust_z: the calibration must hold component {component.name!r}, it holds "
            f"{', '.join(calibration.components) or 'none'}; compile the run again"
        )
    statistics = calibration.components[component.name]
    # The statistics are in the component's own unit; the signal's sign is turned already.
    return native.RobustZ(_sign(component) * statistics.median, statistics.scale)


def _run_step(step: Step, x: Array, component: Component, calibration: Calibration | None) -> Array:
    match step:
        case MinMax():
            return native.minmax(x)
        case Reciprocal():
            return -(10 ** (-x / 10))
        case Gaussian(n_taps=n_taps, sigma=sigma, side="both"):
            return native.gaussian(x, n_taps, sigma)
        case SavitzkyGolay(length=length, order=order, side="both"):
            longest = len(x) - 1 + len(x) % 2
            return native.savgol(x, min(length, longest), order) if longest > order else x
        case Median(length=length, side="both"):
            return native.median(x, length)
    chain = native.Chain(1, [native.Branch(0, [_causal(step, component, calibration)])])
    return chain.push(x[:, None])


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
