"""Calibration: components and causal score on held-out normal video, and the alert rule.

It runs the very engine and the very chain that will run on the camera box, so that the threshold
means there what it meant here.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from vadfast.compile.false_alarms import (
    DAY_S,
    MIN_PEAKS,
    expected,
    fit_tail,
    most_peaks,
    n_peaks,
    threshold_of,
)
from vadfast.compile.windows import Tail as VideoTail
from vadfast.errors import UsageError
from vadfast.progress import Steps
from vadfast.runtime.engine import Engine
from vadfast.runtime.manifest import (
    AlertRule,
    Calibration,
    Chain,
    Component,
    ComponentStatistics,
    InputSpec,
    Tail,
)
from vadfast.runtime.score import run_chain
from vadfast.runtime.session import raw_scores

MIN_FRAMES = 50  # fewer scored frames say nothing about the tail of a distribution
# Below this the threshold's quantile lies between the two highest scores: usable, but said.
FEW_FRAMES = 400
_QUANTILES = ("0.5", "0.9", "0.95", "0.99", "0.995", "0.999")
_RAISE_QUANTILE = "0.995"
_CLEAR_QUANTILE = (
    "0.95"  # lower than the raise: a score that hovers at the threshold makes one event, not many
)
_RAISE_COUNT, _RAISE_WINDOW, _CLEAR_COUNT = 3, 5, 10
_MAD_TO_SIGMA = 1.4826


def score_normal(
    engine: Engine, spec: InputSpec, tails: Sequence[VideoTail], steps: Steps
) -> list[npt.NDArray[np.float32]]:
    """Returns the components [n, K] of each tail that is at least a window long; ``steps`` advances once a frame."""
    parts = []
    for tail in tails:
        if tail.n_frames is not None and tail.n_frames < spec.n_frames:
            continue
        rows = []
        for raw in raw_scores(engine, spec, tail.source, first=tail.first):
            rows.append(raw.components)
            steps.advance()
        parts.append(np.stack(rows))
    return parts


def check_length(n_frames: int, source: str) -> None:
    """Raises UsageError where ``n_frames`` scored frames of ``source`` are too few for a threshold."""
    if n_frames < MIN_FRAMES:
        raise UsageError(
            f"--calibrate: must give at least {MIN_FRAMES} scored frames of normal video, got {n_frames} from {source}; "
            "give a folder of longer normal video, or train with a larger held-out part"
        )


def check_peaks(lengths: Sequence[int], source: str) -> None:
    """Raises UsageError where normal videos of ``lengths`` scored frames cannot have enough peaks for ``--false-alarms``, whatever the scores."""
    most = most_peaks(lengths, raise_count=_RAISE_COUNT, clear_count=_CLEAR_COUNT)
    if most < MIN_PEAKS:
        raise UsageError(
            f"--false-alarms: needs normal video whose scores peak {MIN_PEAKS} times at least, and {sum(lengths)} frames of {source} can peak "
            f"{most} times at most; give longer normal video by --calibrate DIR"
        )


def calibrate(
    parts: Sequence[npt.NDArray[np.float32]],
    components: Sequence[Component],
    causal_chain: Chain,
    *,
    source: str,
    fps: float | None = None,
    false_alarms_per_day: float | None = None,
) -> tuple[Calibration, AlertRule]:
    """Returns the calibration and the alert rule from the components [n, K] of each normal video.

    Args:
        parts: of each video.
        components: what the columns are.
        causal_chain: from them to the score.
        source: what was calibrated on, in words.
        fps: frames a second; None: unknown, and so is the number of alarms a day.
        false_alarms_per_day: that the threshold shall allow; None: the quantile of the scores that ``_RAISE_QUANTILE`` says.

    Raises:
        UsageError: too few frames or peaks, no frame rate, or a component that does not vary.
    """
    n = sum(len(part) for part in parts)
    check_length(n, source)
    found = statistics(np.concatenate(parts), components)
    draft = Calibration(source=source, n_frames=n, components=found, score_quantiles={})
    scored = [run_chain(causal_chain, components, part, draft) for part in parts]
    scores = np.concatenate(scored)
    quantiles = {q: float(np.quantile(scores, float(q))) for q in _QUANTILES}
    rule = usual_rule(scores)
    tail = fit_tail(scored, rule)
    if false_alarms_per_day is not None:
        if tail is None:
            raise UsageError(
                f"--false-alarms: needs normal video whose scores peak {MIN_PEAKS} times at least, got {n_peaks(scored, rule)} peaks in {n} "
                "frames; give longer normal video by --calibrate DIR"
            )
        rule = _allowing(rule, tail, fps, false_alarms_per_day)
    alarms = None if tail is None or fps is None else expected(scored, rule, tail, fps)
    found_all = {"score_quantiles": quantiles, "tail": tail, "false_alarms": alarms}
    return draft.model_copy(update=found_all), rule


def usual_rule(normal: npt.NDArray[np.float64]) -> AlertRule:
    """Returns the alert rule by quantiles of the causal scores of normal video."""
    return AlertRule(
        threshold=float(np.quantile(normal, float(_RAISE_QUANTILE))),
        clear_threshold=float(np.quantile(normal, float(_CLEAR_QUANTILE))),
        raise_count=_RAISE_COUNT,
        raise_window=_RAISE_WINDOW,
        clear_count=_CLEAR_COUNT,
    )


def _allowing(rule: AlertRule, tail: Tail, fps: float | None, per_day: float) -> AlertRule:
    if fps is None:
        raise UsageError("--false-alarms: needs the frame rate of the cameras; give it by --fps")
    threshold = threshold_of(tail, per_day / (fps * DAY_S))
    clear = min(rule.clear_threshold, threshold)
    return rule.model_copy(update={"threshold": threshold, "clear_threshold": clear})


def statistics(
    values: npt.NDArray[np.float32], components: Sequence[Component]
) -> dict[str, ComponentStatistics]:
    """Returns median and robust scale of each column of ``values`` [n, K]. Raises UsageError where a column is constant."""
    result = {}
    for k, component in enumerate(components):
        column = values[:, k].astype(np.float64)
        median = float(np.median(column))
        scale = _MAD_TO_SIGMA * float(np.median(np.abs(column - median)))
        if not scale > 0:
            raise UsageError(
                f"calibrate: {component.name} must vary on normal video, got {median:g} {component.unit} for most of "
                f"{len(column)} frames; give real normal video by --calibrate DIR"
            )
        result[component.name] = ComponentStatistics(median=median, scale=scale)
    return result
