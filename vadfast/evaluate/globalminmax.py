"""One min-max over the whole test set in the place of one per video: what pooling all films into one does (MPN's and APN's Avenue).

For a method with one score this is a monotone map of the raw one, and its AUC that of ``micro_raw``; where scores are added, the
range of each over the set decides their shares.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vadfast.runtime.manifest import (
    Calibration,
    Chain,
    Component,
    ComponentStatistics,
    MinMax,
    RobustZ,
)
from vadfast.runtime.score import run_chain


def global_minmax(
    chain: Chain, spec: Sequence[Component], videos: Sequence[NDArray[np.float32]]
) -> list[NDArray[np.float64]]:
    """The scores [n] of each video's components [n, K] by ``chain``, its MinMax over all videos together."""
    at = next(i for i, step in enumerate(chain.steps) if isinstance(step, MinMax))
    statistics = {}
    for component in (c for c in spec if c.name in chain.weights):
        before = Chain(steps=chain.steps[:at], weights={component.name: 1.0})
        signed = np.concatenate([run_chain(before, spec, of_video) for of_video in videos])
        low, high = float(signed.min()), float(signed.max())
        # The one step that subtracts and divides by given numbers; its median has the component's own sign.
        own = low if component.high_is == "abnormal" else -low
        statistics[component.name] = ComponentStatistics(median=own, scale=(high - low) or 1.0)
    given = Calibration(
        source="the test set", n_frames=len(signed), components=statistics, score_quantiles={}
    )
    steps = tuple(RobustZ() if i == at else step for i, step in enumerate(chain.steps))
    whole = chain.model_copy(update={"steps": steps})
    return [run_chain(whole, spec, of_video, given) for of_video in videos]
