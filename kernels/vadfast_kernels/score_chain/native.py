r"""The score chain by the compiled core (csrc/core/chain_video.cpp, chain_live.cpp); no torch is needed. ``watch.py`` is what follows it.

Whole videos, n values each::

    minmax      y = (x - min x) / (max x - min x), 0 where all are equal
    gaussian    y[t] = sum_i w[i] x[t + i] / sum_i w[i],  w[i] = exp(-(i / sigma)^2 / 2),  |i| <= n_taps // 2
    savgol      y[t] = p(0), p the polynomial of ``order`` nearest to x[t + i] in least squares,  |i| <= length // 2
    median      y[t] = median of x[t + i],  |i| <= length // 2

The first and last value are repeated beyond the ends; savgol reads the outermost fit there. A camera cannot look ahead: a
:class:`Chain` has one-sided forms of these, and the robust z and exponential mean of ``vadfast.runtime.score`` with the same bits.

Source: per-video min-max of the frame-prediction methods; Gaussian, 15 taps and sigma 2, of the prototype network; Savitzky-Golay,
length 21 and order 2, of the multi-task method. Same results as ``scipy.ndimage.gaussian_filter1d(mode="nearest")``,
``scipy.signal.savgol_filter(mode="interp")`` and ``scipy.ndimage.median_filter(mode="nearest")`` but for the last digits of sums.

Shapes

    x, out      [n]                 float64; ``out`` may be ``x``
    components  [n, n_components]   float64
    scores      [n]                 float64, high = abnormal

Numbers
    arithmetic  float64, the same bits on every machine, for one frame at a time and for a million at once. Only the gain of the
                exponential mean is made by the C library, as Python makes it.
    limits      windows 1 ... 1023 frames, polynomials of order 0 ... 9; a value beyond 1e300 counts as not finite, and a result of a
                step of a chain beyond that is cut to it.
    memory      nothing beyond the results; a chain keeps its windows.
    threads     one; the GIL is released, so cameras may have threads of their own.

Raises:
    ValueError    sizes, rules or values that cannot be right.
    TypeError     something that is not float64, or no array.
    MemoryError   the machine has none left.
    BackendError  there is no compiled module.

    Where it raises, nothing was written, and no state has changed.

Example:
    >>> import numpy as np
    >>> minmax(np.array([3.0, 1.0, 2.0]))
    array([1. , 0. , 0.5])
    >>> median(np.array([0.0, 9.0, 0.0, 1.0]), 3)
    array([0., 0., 1., 1.])
    >>> chain = Chain(1, [Branch(0, [RobustZ(median=-30.0, scale=2.0), Median(3)], sign=-1.0)])  # PSNR, its sign turned
    >>> chain.push(np.array([[30.0], [28.0], [20.0], [30.0]]))       # one value, the mean of two, then medians of three
    array([0. , 0.5, 1. , 1. ])
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vadfast_kernels import _native

Array = npt.NDArray[np.float64]

# ------------------------------------------------------------------------------------------------ whole videos


def minmax(x: Array, *, out: Array | None = None) -> Array:
    """Returns ``x`` between 0 and 1; the docstring of this module is the contract."""
    return _native.module().minmax(x, out)


def gaussian(x: Array, n_taps: int = 15, sigma: float = 2.0, *, out: Array | None = None) -> Array:
    """Returns ``x`` under a Gaussian of ``n_taps`` (odd) weights and width ``sigma`` in frames."""
    return _native.module().gaussian(x, n_taps, sigma, out)


def savgol(x: Array, length: int = 21, order: int = 2, *, out: Array | None = None) -> Array:
    """Returns ``x`` fitted by polynomials over ``length`` (odd) frames, of which it must have as many."""
    return _native.module().savgol(x, length, order, out)


def median(x: Array, length: int = 17, *, out: Array | None = None) -> Array:
    """Returns the median of ``length`` (odd) frames about each."""
    return _native.module().median(x, length, out)


# ------------------------------------------------------------------------------------------------ chain of a camera


@dataclass(frozen=True, slots=True)
class RobustZ:
    """(x - median) / scale: both of normal video, after the sign is turned."""

    median: float
    scale: float


@dataclass(frozen=True, slots=True)
class ExponentialMean:
    """y += (x - y) (1 - 2^(-1 / half_life_frames)), started at the first x."""

    half_life_frames: float


@dataclass(frozen=True, slots=True)
class Savgol:
    """Least squares over the last ``length`` frames, read at the newest."""

    length: int = 21
    order: int = 2


@dataclass(frozen=True, slots=True)
class Median:
    """Median of the last ``length`` frames; the mean of the two in the middle where they are even."""

    length: int = 17


@dataclass(frozen=True, slots=True)
class Gaussian:
    """The newer half of ``n_taps`` (odd) weights of width ``sigma``, over their sum."""

    n_taps: int = 15
    sigma: float = 2.0


Step = RobustZ | ExponentialMean | Savgol | Median | Gaussian


@dataclass(frozen=True, slots=True)
class Branch:
    """One component's part of a score: ``weight`` * steps(``sign`` * component)."""

    column: int
    steps: Sequence[Step] = ()
    weight: float = 1.0
    sign: float = 1.0


def _record(step: Step) -> tuple[int, int, int, float, float]:
    """The fields of vad_step in csrc/include/vadfast/score.h: kind, length, order, a, b."""
    core = _native.module()
    match step:
        case RobustZ(median, scale):
            return core.STEP_ROBUST_Z, 0, 0, median, scale
        case ExponentialMean(half_life):
            return core.STEP_EXPONENTIAL_MEAN, 0, 0, half_life, 0.0
        case Savgol(length, order):
            return core.STEP_SAVGOL, length, order, 0.0, 0.0
        case Median(length):
            return core.STEP_MEDIAN, length, 0, 0.0, 0.0
        case Gaussian(n_taps, sigma):
            return core.STEP_GAUSSIAN, n_taps, 0, sigma, 0.0


class Chain:
    """One camera's way from components to a score.

    Until a window is full a step uses the frames that came: a Savitzky-Golay of a lower order where they are too few.
    """

    def __init__(self, n_components: int, branches: Sequence[Branch]) -> None:
        records = [(b.column, b.sign, b.weight, [_record(s) for s in b.steps]) for b in branches]
        self._chain: Any = _native.module().Chain(n_components, records)

    def push(self, components: Array) -> Array:
        """Returns the scores [n] of the next frames from their ``components`` [n, n_components]."""
        return self._chain.push(components)

    def reset(self) -> None:
        """Forgets all frames: the scene changed."""
        self._chain.reset()
