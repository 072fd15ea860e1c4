"""The threshold that raises so many false alarms a day: the tail of an alert's peaks on normal video.

An alert is raised when ``raise_count`` of ``raise_window`` scores exceed the threshold, so its statistic is the raise_count-th largest of
the last raise_window scores, and it is raised once in each stretch that the rule does not clear. The peaks of these stretches over a
level u follow, far out, a generalised Pareto distribution (Pickands 1975; Coles, An Introduction to Statistical Modeling of Extreme
Values, 2001, ch. 4):

    alarms per frame at x = peaks per frame * (1 + shape (x - u) / scale)^(-1 / shape),     exp(-(x - u) / scale) where shape = 0

A shape needs many peaks: with fewer than ``PEAKS_FOR_A_SHAPE`` it is 0, an exponential tail.
"""

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from vadfast.compile.alerts import statistic
from vadfast.errors import UsageError
from vadfast.runtime.manifest import AlertRule, FalseAlarms, Tail

# The scale of an exponential law is known to 1 / sqrt(n): 8 peaks give a third. A shape wants more than a scale: 50 give +- 0.15.
MIN_PEAKS, PEAKS_FOR_A_SHAPE = 8, 50
# Of all 16 normal films of Ped2 together, by ADL of 128 px and width 16: 7 peaks in 2,486 frames. One film alone: a peak in 83.
FRAMES_A_PEAK = 350
LEVEL_QUANTILE = 0.9  # of the scores: the law is of the tail, and the tail must have peaks
DAY_S = 86400.0
_SECONDS = {"hour": 3600.0, "day": DAY_S, "week": 7 * DAY_S}
_N_RESAMPLES = 500

Scores = npt.NDArray[np.float64]


def parse_rate(words: str) -> float:
    """Returns the false alarms a day that ``--false-alarms`` asks for. Raises UsageError where the words are no rate.

    >>> parse_rate("1/day"), parse_rate("2/week"), parse_rate("0.5/hour")
    (1.0, 0.2857142857142857, 12.0)
    """
    found = re.fullmatch(r"(\d+(?:\.\d*)?)/(hour|day|week)", words.strip())
    if found is None or not (number := float(found[1])) > 0:
        raise UsageError(
            f"--false-alarms: must be like 1/day, 2/week or 0.5/hour, got {words!r}; of one camera"
        )
    return number * DAY_S / _SECONDS[found[2]]


def fit_tail(parts: Sequence[Scores], rule: AlertRule) -> Tail | None:
    """Returns the tail of the peaks of ``rule`` on the causal scores of normal videos; None with fewer than MIN_PEAKS."""
    level, peaks = _peaks(parts, rule)
    if len(peaks) < MIN_PEAKS:
        return None
    shape, scale = _fit(peaks - level)
    n_frames = sum(map(len, parts))
    return Tail(
        level=level,
        scale=scale,
        shape=shape,
        n_peaks=len(peaks),
        peaks_per_frame=len(peaks) / n_frames,
    )


def n_peaks(parts: Sequence[Scores], rule: AlertRule) -> int:
    """Returns how often the causal scores of normal videos peak: the events that ``rule`` would raise at the tail's level."""
    return len(_peaks(parts, rule)[1])


def most_peaks(lengths: Sequence[int], *, raise_count: int, clear_count: int) -> int:
    """Returns how often videos of ``lengths`` scores can peak at most, whatever the scores: what is known before they are.

    A peak takes ``raise_count`` scores above the level, which a tenth of all scores exceeds, and in the same video ``clear_count`` lower
    ones lie between it and the next.

    >>> most_peaks([78, 78], raise_count=3, clear_count=10)
    5
    """
    n = sum(lengths)
    above = n - 1 - int(LEVEL_QUANTILE * (n - 1)) if n else 0
    apart = sum((length + clear_count) // (raise_count + clear_count) for length in lengths)
    return min(above // raise_count, apart)


def threshold_of(tail: Tail, per_frame: float) -> float:
    """Returns the threshold that ``per_frame`` peaks a frame exceed, at least the level of the tail: ``alarms_per_frame`` backwards."""
    ratio = per_frame / tail.peaks_per_frame
    if ratio >= 1:
        return tail.level
    if tail.shape == 0:
        return tail.level - tail.scale * float(np.log(ratio))
    return tail.level + tail.scale / tail.shape * (ratio**-tail.shape - 1)


def alarms_per_frame(tail: Tail, threshold: float) -> float:
    """Returns how often a peak exceeds ``threshold``; that of the level where it is lower."""
    x = max(threshold - tail.level, 0.0) / tail.scale
    if tail.shape == 0:
        return tail.peaks_per_frame * float(np.exp(-x))
    return tail.peaks_per_frame * float(max(1 + tail.shape * x, 0.0) ** (-1 / tail.shape))


def expected(parts: Sequence[Scores], rule: AlertRule, tail: Tail, fps: float) -> FalseAlarms:
    """Returns the alarms a day that ``rule`` raises on video like ``parts``, with a 95 % interval over resampled peaks."""
    a_day = fps * DAY_S
    level, peaks = _peaks(parts, rule)
    rng = np.random.default_rng(0)
    rates = []
    for _ in range(_N_RESAMPLES):
        # So many peaks in this time are themselves chance.
        drawn = rng.choice(peaks, size=max(rng.poisson(len(peaks)), MIN_PEAKS))
        shape, scale = _fit(drawn - level)
        resampled = tail.model_copy(
            update={
                "shape": shape,
                "scale": scale,
                "peaks_per_frame": len(drawn) / sum(map(len, parts)),
            }
        )
        rates.append(alarms_per_frame(resampled, rule.threshold) * a_day)
    lo, hi = np.quantile(rates, [0.025, 0.975])
    return FalseAlarms(
        per_day=alarms_per_frame(tail, rule.threshold) * a_day,
        lo=float(lo),
        hi=float(hi),
        fps=fps,
        hours_seen=sum(map(len, parts)) / fps / _SECONDS["hour"],
    )


def _peaks(parts: Sequence[Scores], rule: AlertRule) -> tuple[float, Scores]:
    """The level, and the largest statistic of each event that the rule would raise at it."""
    level = float(np.quantile(np.concatenate(list(parts)), LEVEL_QUANTILE))
    clear = min(rule.clear_threshold, level)
    peaks = []
    for scores in parts:
        peak, n_low = -np.inf, 0
        for score, reached in zip(scores, statistic(scores, rule), strict=True):
            if reached > level:
                peak = max(peak, reached)
            n_low = n_low + 1 if score < clear else 0
            if n_low >= rule.clear_count and peak > level:
                peaks.append(peak)
                peak = -np.inf
        if peak > level:
            peaks.append(peak)
    return level, np.array(peaks)


def _fit(excesses: Scores) -> tuple[float, float]:
    """Shape and scale, by maximum likelihood."""
    from scipy.stats import genpareto

    if len(excesses) < PEAKS_FOR_A_SHAPE:
        return 0.0, float(excesses.mean())
    shape, _, scale = genpareto.fit(excesses, floc=0)
    return float(shape), float(scale)
