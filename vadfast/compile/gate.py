"""The accuracy gate: a candidate ships only if it gives the scores of eager float32 on real frames.

The bounds are on what a user sees, scores and AUC, not on tensors. For a PSNR they follow from how
far a pixel of the prediction may be off:

    PSNR = -10 log10(mse), so an rms error d of the predicted frame (of full scale) moves it by
    at most (20 / ln 10) * d / sqrt(mse) = 8.7 d * 10^(PSNR / 20) dB

    fp32  d between engines measured 1e-8 ... 1e-7 (reordered sums). 0.01 dB allows d = 1e-5 at
          40 dB, a 400th of a grey level: two orders of room for another instruction set, while a
          wrong layout, weight or resize is off by 0.1 dB or more.
    bf16  8 bits of mantissa give d of about 1e-4; 0.25 dB allows d = 3e-4 at 40 dB.
    fp16  11 bits give an eighth of it: 0.05 dB allows d = 6e-5 at 40 dB. With every result rounded to float16 trained networks were
          off by 0.005 dB at 39 dB, and by 0.04 sd; the rest is for kernels that add up in float16 as well.
    int8  is allowed what bf16 is: one calibration serves whatever a bundle ships, and a threshold that is 0.25 dB off is none.

A component in standard deviations of training video ("sd") is allowed 0.02: a fiftieth of what normal frames differ by moves no
threshold. Engines measured 0.0004 ... 0.01 in float32 (MTL of width 4, whose errors hardly differ between frames).

Alerts are raised on the gate's windows by the rule that eager's normal ones give; what one raises and the other does not, within 5
frames, is counted.

The same bound is the tolerance of the golden self-test, on whatever machine the bundle is opened.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from vadfast.compile.alerts import WITHIN_FRAMES, compare
from vadfast.compile.answers import Scored
from vadfast.compile.backends import Precision
from vadfast.compile.calibrate import statistics, usual_rule
from vadfast.compile.windows import Run
from vadfast.errors import BuildError, UsageError
from vadfast.evaluate.protocols import auc
from vadfast.runtime.manifest import Calibration, Chain, Component
from vadfast.runtime.score import run_chain


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far a candidate of one precision may be from eager float32."""

    score_error: Mapping[str, float]  # by unit: largest |difference| of a component
    correlation: float  # Pearson, at least
    auc: float  # largest |difference|; never finer than one pair of frames, the resolution of a sample
    heatmap: float  # largest |difference| over the largest value
    alerts: float  # part of all alerts that may have no partner within 5 frames; where it is not 0, one may


_LOSSY = Bounds({"dB": 0.25, "sd": 0.25}, correlation=0.995, auc=0.003, heatmap=0.1, alerts=0.1)
BOUNDS: Mapping[Precision, Bounds] = {
    "fp32": Bounds(
        {"dB": 0.01, "sd": 0.02}, correlation=0.9999, auc=0.0005, heatmap=0.001, alerts=0
    ),
    "fp16": Bounds(
        {"dB": 0.05, "sd": 0.1}, correlation=0.999, auc=0.001, heatmap=0.02, alerts=0.05
    ),
    **dict.fromkeys(("bf16", "int8", "int8-bf16"), _LOSSY),
}


# What --gate may name, and the largest value of each; errors are named by their unit, and none may be 0.
_MOST = {"dB": math.inf, "sd": math.inf, "heatmap": math.inf, "correlation": 1.0, "auc": 1.0, "alerts": 1.0}  # fmt: skip


def parse_bounds(words: str | None) -> Mapping[Precision, Bounds]:
    """Returns ``BOUNDS`` with those of every precision replaced that ``--gate`` names.

    >>> bounds = parse_bounds("auc=0.001,dB=0.1")["int8"]
    >>> bounds.auc, bounds.score_error["dB"], bounds.heatmap
    (0.001, 0.1, 0.1)

    Raises:
        UsageError: a name or a value is none.
    """
    asked: dict[str, float] = {}
    for word in words.split(",") if words is not None else ():
        name, _, value = word.strip().partition("=")
        try:
            asked[name] = float(value)
        except ValueError:
            asked[name] = math.nan
        most = _MOST.get(name, -1.0)
        if not 0 <= asked[name] <= most or (asked[name] in (0, math.inf) and most == math.inf):
            raise UsageError(
                "--gate: must be bounds like auc=0.001,dB=0.1: dB, sd and heatmap above 0, correlation, auc and alerts from 0 to 1, "
                f"got {word.strip()!r}"
            )
    errors: dict[str, float] = {unit: asked.pop(unit) for unit in ("dB", "sd") if unit in asked}
    return {
        precision: replace(b, score_error={**b.score_error, **errors}, **asked)
        for precision, b in BOUNDS.items()
    }


@dataclass(frozen=True, slots=True)
class Scorecard:
    """What the model is for, as far as the gate needs it, and what the gate allows."""

    components: tuple[Component, ...]
    paper_chain: Chain
    causal_chain: Chain
    bounds: Mapping[Precision, Bounds] = field(default_factory=lambda: BOUNDS)


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a candidate compares with eager float32; ``faults`` empty = it passed.

    Nothing is measured on what is not finite.
    """

    score_error: dict[str, float]  # by component, in its unit
    correlation: dict[str, float | None]  # None where the component did not vary
    # Candidate minus eager, by protocol; empty without labels of both classes.
    delta_auc: dict[str, float]
    heatmap_error: float | None  # largest |difference| over the largest value
    alerts: tuple[int, int]  # of both together, and those without a partner
    faults: tuple[str, ...]
    # Whether scores and heat maps are within the bounds, whatever became of AUC and alerts.
    near: bool = False

    @property
    def max_score_error(self) -> float | None:
        """Over all components; None where the scores are not numbers."""
        return max(self.score_error.values(), default=None)

    @property
    def worst_delta_auc(self) -> float | None:
        """The signed difference that is largest in size."""
        return max(self.delta_auc.values(), key=abs, default=None)


def bounds_of(bounds: Bounds, components: Sequence[Component]) -> dict[str, float]:
    """Returns the largest score error allowed for each component. Raises BuildError for a unit without a bound."""
    table = bounds.score_error
    for component in components:
        if component.unit not in table:
            raise BuildError(
                f"gate: component {component.name!r} must have a unit with a bound ({', '.join(table)}), got {component.unit!r}; "
                "declare dB for decibels, or divide it by its deviation on training video and declare sd"
            )
    return {component.name: table[component.unit] for component in components}


def judge(
    candidate: Scored, eager: Scored, runs: Sequence[Run], card: Scorecard, precision: Precision
) -> Verdict:
    """Compares the answers of a candidate with those of eager float32."""
    got, wanted = np.concatenate(candidate.components), np.concatenate(eager.components)
    bounds = card.bounds[precision]
    allowed = bounds_of(bounds, card.components)
    error: dict[str, float] = {}
    correlation: dict[str, float | None] = {}
    faults: list[str] = []
    if not all(np.isfinite(values).all() for values in (got, *candidate.heatmaps)):
        return Verdict({}, {}, {}, None, (0, 0), ("its scores or heat maps are not finite",))
    for k, component in enumerate(card.components):
        name, unit = component.name, component.unit
        error[name] = float(np.abs(got[:, k].astype(np.float64) - wanted[:, k]).max())
        correlation[name] = r = _pearson(got[:, k], wanted[:, k])
        if error[name] > allowed[name]:
            faults.append(f"{name} is off by {error[name]:.3g} {unit}, allowed {allowed[name]:g}")
        if r is not None and r < bounds.correlation:
            faults.append(f"{name} correlates by {r:.5f}, at least {bounds.correlation:g}")
    order_faults = []
    calibration = _calibration(eager, runs, card)
    deltas, resolution = _auc_changes(candidate, eager, runs, card, calibration)
    for protocol, delta in deltas.items():
        if abs(delta) > max(bounds.auc, resolution) * (1 + 1e-9):
            order_faults.append(
                f"AUC {protocol} changes by {delta:+.4f}, allowed {max(bounds.auc, resolution):.4f}"
            )
    heatmap_error = _heatmap_error(candidate, eager)
    if heatmap_error > bounds.heatmap:
        faults.append(
            f"its heat map is off by {heatmap_error:.3g} of the largest value, allowed {bounds.heatmap:g}"
        )
    n_alerts, n_alone = _alerts(candidate, eager, runs, card, calibration)
    if n_alone > math.ceil(bounds.alerts * n_alerts):
        order_faults.append(
            f"{n_alone} of {n_alerts} alerts have no partner within {WITHIN_FRAMES} frames, allowed "
            f"{math.ceil(bounds.alerts * n_alerts)}"
        )
    return Verdict(
        error,
        correlation,
        deltas,
        heatmap_error,
        (n_alerts, n_alone),
        (*faults, *order_faults),
        near=not faults,
    )


def _pearson(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float | None:
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(a.astype(np.float64), b.astype(np.float64))[0, 1])


def _calibration(eager: Scored, runs: Sequence[Run], card: Scorecard) -> Calibration:
    """Of the gate's own normal windows; of all, where every run is labelled."""
    normal = [i for i, run in enumerate(runs) if run.labels is None] or list(range(len(runs)))
    return Calibration(
        source="the gate's own normal windows",
        n_frames=sum(len(runs[i]) for i in normal),
        components=statistics(
            np.concatenate([eager.components[i] for i in normal]), card.components
        ),
        score_quantiles={},
    )


def _chained(
    chain: Chain, scored: Scored, card: Scorecard, calibration: Calibration
) -> list[npt.NDArray[np.float64]]:
    return [run_chain(chain, card.components, part, calibration) for part in scored.components]


def _auc_changes(
    candidate: Scored,
    eager: Scored,
    runs: Sequence[Run],
    card: Scorecard,
    calibration: Calibration,
) -> tuple[dict[str, float], float]:
    labelled = [i for i, run in enumerate(runs) if run.labels is not None]
    labels = np.concatenate([np.zeros(0, np.uint8), *(runs[i].labels for i in labelled)])
    n_abnormal = int(labels.sum())
    if n_abnormal in (0, len(labels)):
        return {}, 0.0
    raw = Chain(steps=(), weights=card.paper_chain.weights)
    deltas = {}
    for protocol, chain in (
        ("micro_minmax", card.paper_chain),
        ("micro_raw", raw),
        ("causal", card.causal_chain),
    ):
        values = []
        for scored in (candidate, eager):
            parts = _chained(chain, scored, card, calibration)
            value = auc(labels, np.concatenate([parts[i] for i in labelled]))
            assert value is not None  # both classes are there
            values.append(value)
        deltas[protocol] = values[0] - values[1]
    return deltas, 1.0 / (n_abnormal * (len(labels) - n_abnormal))


def _alerts(
    candidate: Scored,
    eager: Scored,
    runs: Sequence[Run],
    card: Scorecard,
    calibration: Calibration,
) -> tuple[int, int]:
    """How many alerts both raise by the rule that eager's normal scores give, and how many without a partner."""
    theirs, mine = (_chained(card.causal_chain, s, card, calibration) for s in (eager, candidate))
    normal = [s for s, run in zip(theirs, runs, strict=True) if run.labels is None] or theirs
    return compare(mine, theirs, usual_rule(np.concatenate(normal)))


def _heatmap_error(candidate: Scored, eager: Scored) -> float:
    peak = max(float(np.abs(h).max()) for h in eager.heatmaps)
    worst = max(
        float(np.abs(a - b).max()) for a, b in zip(candidate.heatmaps, eager.heatmaps, strict=True)
    )
    return worst / peak if peak > 0 else worst
