"""What a compile run shows beyond its numbers: the rounds of the race, scores window by window, a few heat maps, normal scores.

It is filled while the run goes, so that a run whose gate let nothing through can still be looked at. Memory stays small: of each
candidate the scores and ``N_PICTURES`` heat maps are kept, and the frames of those windows once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from vadfast.compile.answers import Scored
from vadfast.compile.windows import Run, spread
from vadfast.race import Timing
from vadfast.runtime.engine import Engine
from vadfast.runtime.manifest import Calibration, Chain, Component
from vadfast.runtime.score import run_chain

N_PICTURES = 4

Name = tuple[str, str, int]  # backend, precision, batch: as a row of the race has them


@dataclass(frozen=True, slots=True)
class Picture:
    """A window whose heat maps are shown, by its newest frame."""

    video: str
    frame: int
    abnormal: bool | None  # as labelled; None where nobody labelled it
    image: npt.NDArray[np.uint8]  # [H, W, 3]


@dataclass(frozen=True, slots=True)
class Answer:
    """What one candidate said, and how fast."""

    timing: Timing
    components: list[npt.NDArray[np.float32]]  # per run that it was judged on [n, K]
    heatmaps: list[npt.NDArray[np.float32]]  # per picture of those runs [h, w]
    whole: bool  # whether those are all runs

    @property
    def finite(self) -> bool:
        """Whether it is all numbers; what is not cannot be drawn."""
        return all(bool(np.isfinite(part).all()) for part in (*self.components, *self.heatmaps))


@dataclass(slots=True)
class Evidence:
    """Everything that a report draws; a part is empty where the run never came so far."""

    components: tuple[Component, ...] = ()
    labels: list[npt.NDArray[np.uint8] | None] = field(default_factory=list)  # per run [n]
    pictures: list[Picture] = field(default_factory=list)
    answers: dict[Name, Answer] = field(default_factory=dict)
    eager: Name | None = None
    normal_scores: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    _places: list[tuple[int, int]] = field(default_factory=list)  # run and window of each picture

    @property
    def auc_resolution(self) -> float:
        """What one pair of an abnormal and a normal window changes an AUC by; 0 where the labels are of one class."""
        labels = np.concatenate([np.zeros(0, np.uint8), *(x for x in self.labels if x is not None)])
        n_abnormal = int(labels.sum())
        n_pairs = n_abnormal * (len(labels) - n_abnormal)
        return 1 / n_pairs if n_pairs else 0.0

    def begin(
        self, runs: Sequence[Run], truth: Scored, eager: Engine, components: Sequence[Component]
    ) -> None:
        """Takes what all candidates are compared on: the ``runs``, and ``truth``, what ``eager`` said about them."""
        self.components, self.eager = tuple(components), _name(eager)
        self.labels = [run.labels for run in runs]
        self._places = _places(truth)
        for r, i in self._places:
            run, labels = runs[r], runs[r].labels
            newest = run.frames[i + run.n_frames - 1]
            abnormal = None if labels is None else bool(labels[i])
            self.pictures.append(Picture(run.video, run.first + i, abnormal, newest.copy()))

    def add(self, engine: Engine, timing: Timing, scored: Scored, which: Sequence[int]) -> None:
        """Takes one candidate: its race, and what it said about those of the runs that it was judged on."""
        heatmaps = [
            scored.heatmaps[which.index(r)][i].copy() for r, i in self._places if r in which
        ]
        whole = len(which) == len(self.labels)
        self.answers[_name(engine)] = Answer(timing, scored.components, heatmaps, whole)

    def add_normal(
        self,
        parts: Sequence[npt.NDArray[np.float32]],
        components: Sequence[Component],
        causal_chain: Chain,
        calibration: Calibration,
    ) -> None:
        """Takes the components [n, K] of each normal video, and keeps their causal scores."""
        self.normal_scores = np.concatenate(
            [run_chain(causal_chain, components, part, calibration) for part in parts]
        )


def _name(engine: Engine) -> Name:
    return engine.backend, engine.precision, engine.batch


def _places(truth: Scored) -> list[tuple[int, int]]:
    """Runs spread over all of them, and in each the window that eager's heat map is brightest in."""
    return [
        (r, int(truth.heatmaps[r].max(axis=(1, 2)).argmax()))
        for r in spread(len(truth.heatmaps), N_PICTURES)
    ]
