"""The score chain on a million frames, and on one camera frame by frame, against NumPy, SciPy and plain Python.

Right is who differs from the reference by no more than sums in float64 do.
"""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage, signal
from vadfast_kernels import _native
from vadfast_kernels.score_chain import native, reference
from vadfast_kernels.score_chain.native import (
    Branch,
    Chain,
    ExponentialMean,
    Median,
    RobustZ,
    Savgol,
)
from vadfast_kernels.score_chain.watch import Alert, Event

from bench.child import peak_mb
from bench.contest import Check, Field, Provider, Target, contest
from bench.device import is_tiny

Array = npt.NDArray[np.float64]
Call = Callable[[Array], Array]

N, N_CAMERA = 1_000_000, 2_000
WARM = 64  # frames until every window of the live chain is full
MEDIAN_Z, SCALE_Z, HALF_LIFE = 0.2, 1.7, 8.0
BRANCH = Branch(0, (RobustZ(MEDIAN_Z, SCALE_Z), ExponentialMean(HALF_LIFE), Savgol(), Median()))


def _scores() -> Array:
    """Random scores; a dry run has fewer."""
    return np.random.default_rng(0).normal(size=5_000 if is_tiny() else N)


def _whole_by_scipy(x: Array) -> Array:
    return reference.median(reference.savgol(reference.gaussian(reference.minmax(x))))


def _whole_by_us(x: Array) -> Array:
    y = native.minmax(x)
    return native.median(native.savgol(native.gaussian(y, out=y), out=y), out=y)


# ------------------------------------------------------------------------------------------------ live, as a table


def _live_by_scipy(x: Array) -> Array:
    gain = 1.0 - 2.0 ** (-1.0 / HALF_LIFE)
    z = (x - MEDIAN_Z) / SCALE_Z
    y, _ = signal.lfilter([gain], [1.0, gain - 1.0], z, zi=[(1.0 - gain) * z[0]])
    y = signal.lfilter(signal.savgol_coeffs(21, 2, pos=20, use="conv"), 1.0, y)
    return ndimage.median_filter(y, 17, mode="nearest", origin=8)


def _chain() -> Chain:
    return Chain(1, [BRANCH])


def _live_by_us(x: Array) -> Array:
    return _chain().push(x.reshape(-1, 1))


# ------------------------------------------------------------------------------------------------ a camera, frame by frame

RULE: dict[str, Any] = {
    "threshold": 1.0, "clear_threshold": 0.5, "raise_count": 5, "raise_window": 8, "clear_count": 10,
}  # fmt: skip
SIDE, STRIDE_NS = 256, 40_000_000


def _camera_by_us(x: Array) -> Any:
    ring = _native.module().Ring(5, SIDE, SIDE, stride_ns=STRIDE_NS)
    chain, alert = _chain(), Alert(**RULE)
    components, times = x.reshape(-1, 1, 1), np.arange(len(x)).reshape(-1, 1) * STRIDE_NS

    def frame(i: int) -> list[Event]:
        ring.commit(int(times[i, 0]))
        return alert.push(chain.push(components[i]), times[i])

    return _events(frame, len(x))


def _camera_by_python(x: Array) -> Any:
    # The frames themselves are in a list, which costs less than the rings that people write by np.roll.
    window: list[npt.NDArray[np.uint8]] = []
    picture = np.zeros((SIDE, SIDE, 3), np.uint8)
    scores = reference.chain([BRANCH], x.reshape(-1, 1))
    alert = reference.Alert(**RULE)

    def frame(i: int) -> list[Event]:
        window.append(picture)
        del window[:-5]
        return alert.push(scores[i : i + 1], np.array([i * STRIDE_NS]))

    return _events(frame, len(x))


def _events(frame: Callable[[int], list[Event]], n: int) -> list[tuple[int, str]]:
    return [(i, event.kind) for i in range(n) for event in frame(i)]


# ------------------------------------------------------------------------------------------------ cases


def _working(call: Call) -> Callable[[int], Any]:
    """What a process of its own calls to measure the memory of a call."""
    x = _scores()
    return lambda _: call(x).shape


def _open(by_scipy: Call, by_us: Call, *, first: int = 0, roundings: float = 1e3) -> Field:
    x = _scores()
    wanted = by_scipy(x)
    bound = roundings * 2.0**-52 * float(np.abs(wanted).max())

    def check(_: str, result: Array) -> Check:
        return Check(float(np.abs(result - wanted)[first:].max()), bound, "of the score")

    def provider(call: Call) -> Provider:
        return Provider(lambda _: call(x), dtype="fp64", peak_mb=partial(peak_mb, _working, call))

    return Field({"scipy": provider(by_scipy), "vadfast": provider(by_us)}, check)


PROVIDERS = ("scipy", "vadfast")
SHAPE = "1,000,000 scores"


@contest(
    case="min-max, Gaussian 15, Savitzky-Golay 21, median 17",
    shape=SHAPE,
    reference="scipy",
    providers=PROVIDERS,
    targets={"vadfast": Target(10.0, ())},
)
def test_whole(stack: ExitStack) -> Field:
    """The whole chain of a video; ours works in the memory of its result."""
    return _open(_whole_by_scipy, _whole_by_us)


@contest(case="min-max", shape=SHAPE, reference="scipy", providers=PROVIDERS)
def test_minmax(stack: ExitStack) -> Field:
    """As fast as memory: there is little to win."""
    return _open(reference.minmax, native.minmax, roundings=0)


@contest(case="Gaussian 15", shape=SHAPE, reference="scipy", providers=PROVIDERS)
def test_gaussian(stack: ExitStack) -> Field:
    """Fifteen weights."""
    return _open(reference.gaussian, native.gaussian)


@contest(case="Savitzky-Golay 21, order 2", shape=SHAPE, reference="scipy", providers=PROVIDERS)
def test_savgol(stack: ExitStack) -> Field:
    """Twenty-one weights and two ends."""
    return _open(reference.savgol, native.savgol)


@contest(case="median 17", shape=SHAPE, reference="scipy", providers=PROVIDERS)
def test_median(stack: ExitStack) -> Field:
    """A window that is sorted in lanes."""
    return _open(reference.median, native.median, roundings=0)


@contest(case="median 1,023", shape=SHAPE, reference="scipy", providers=PROVIDERS)
def test_long_median(stack: ExitStack) -> Field:
    """The longest window."""
    return _open(
        partial(reference.median, length=1023), partial(native.median, length=1023), roundings=0
    )


@contest(
    case="live chain: robust z, exponential mean, one-sided Savitzky-Golay 21, median 17",
    shape=SHAPE,
    reference="scipy",
    providers=PROVIDERS,
    targets={"vadfast": Target(10.0, ())},
)
def test_live(stack: ExitStack) -> Field:
    """A camera's chain over a recorded table; compared once every window is full."""
    return _open(_live_by_scipy, _live_by_us, first=WARM)


@contest(
    case="one camera, frame by frame: ring, live chain, alert",
    shape="2,000 frames",
    reference="python",
    providers=("python", "vadfast"),
    targets={"vadfast": Target(1.0, ())},
)
def test_camera(stack: ExitStack) -> Field:
    """From Python; csrc/tests/watch_test.cpp prints what the same way takes in C++."""
    x = np.cumsum(np.random.default_rng(1).normal(size=100 if is_tiny() else N_CAMERA)) / 10
    wanted = _camera_by_python(x)

    def check(_: str, result: Any) -> Check:
        return Check(float(result != wanted), 0, "lists of events")

    providers = {
        "python": Provider(lambda _: _camera_by_python(x), dtype="fp64"),
        "vadfast": Provider(lambda _: _camera_by_us(x), dtype="fp64"),
    }
    return Field(providers, check)
