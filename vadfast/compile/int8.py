"""The model in 8 bits, with the layers that would break the gate found and kept in float.

Ranges come from the gate's own normal windows, which are real and held out of training. Every choice of layers is run by the engine
that would ship it, on all windows of the gate.
"""

import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vadfast.compile.answers import Answers, FailuresNamed, Scored, score_runs
from vadfast.compile.backends import INT8_MODEL, Backend, Precision, Workshop
from vadfast.compile.gate import Scorecard, bounds_of, judge
from vadfast.compile.keep_float import Trial, layers_in_float, usual_attempts
from vadfast.compile.quantise import Quantiser
from vadfast.compile.windows import Run, spread
from vadfast.errors import BackendError
from vadfast.progress import Steps, steps
from vadfast.runtime.engine import Engine

# Windows. Ranges of 6, 12 and 24 gave scores within 0.02 dB of each other (ADL, Ped2, width 8, 128 px).
N_RANGES = 12
_N_ALONE = 4  # windows: each layer is only to be placed among the others


@dataclass(frozen=True, slots=True)
class Int8:
    """What became of the model in 8 bits."""

    n_layers: int  # that could be in 8 bits
    kept: tuple[str, ...]  # those in float, the worst first
    refused: str = ""  # why there is none; empty: it lies at INT8_MODEL
    judged_by: tuple[str, Precision, int] | None = None  # the backend, precision and batch
    said: Answers = field(default_factory=Answers)  # by it about the gate's windows


def make_int8(
    workshop: Workshop,
    backend: Backend,
    precision: Precision,
    runs: Sequence[Run],
    truth: Scored,
    card: Scorecard,
) -> Int8:
    """Writes INT8_MODEL into the folder of ``workshop``, with as few layers in float as the gate lets ``backend``."""
    normal = [run for run in runs if run.labels is None]
    with tempfile.TemporaryDirectory(prefix="vadfast-int8-") as scratch:
        try:
            quantiser = Quantiser.calibrate(
                workshop.folder / "model.onnx",
                _windows(normal, N_RANGES),
                Path(scratch),
                symmetric=backend.name == "tensorrt",
            )
        except BackendError as error:
            return Int8(0, (), str(error))
    bench = _Bench(quantiser, workshop, backend, precision, runs, truth, card)
    n_layers, n_windows = len(quantiser.layers), sum(len(run) for run in runs)
    try:
        with steps("int8", n_layers * _N_ALONE + usual_attempts(n_layers) * n_windows) as bar:
            kept = layers_in_float(
                quantiser.layers,
                lambda layer: bench.error_alone(layer, bar),
                lambda kept: bench.attempt(kept, bar),
            )
    except BackendError as error:
        return Int8(n_layers, (), str(error))
    if kept is None:
        return Int8(n_layers, (), f"the gate keeps all {n_layers} layers out of 8 bits")
    quantiser.write(workshop.folder / INT8_MODEL, kept=kept)
    return Int8(n_layers, kept, "", (backend.name, precision, 1), bench.answers[kept])


@dataclass(frozen=True, slots=True)
class _Bench:
    """Models with some layers in 8 bits, compared with eager float32."""

    quantiser: Quantiser
    workshop: Workshop
    backend: Backend
    precision: Precision
    runs: Sequence[Run]
    truth: Scored
    card: Scorecard
    answers: dict[tuple[str, ...], Answers] = field(default_factory=dict)  # by what was kept

    def error_alone(self, layer: str, bar: Steps) -> float:
        """How far the components are off with only ``layer`` in 8 bits, in parts of what the gate allows."""
        bounds = bounds_of(self.card.bounds[self.precision], self.card.components)
        allowed = np.array([bounds[c.name] for c in self.card.components])
        places = [(r, i) for r, run in enumerate(self.runs) for i in range(len(run))]
        engine = self._engine(set(self.quantiser.layers) - {layer})
        errors = []
        try:
            for r, i in (places[k] for k in spread(len(places), _N_ALONE)):
                with FailuresNamed():
                    got = engine(self.runs[r].window(i)).components[0]
                errors.append(np.abs(got - self.truth.components[r][i]) / allowed)
                bar.advance()
        finally:
            engine.close()
        return float(np.mean(errors))

    def attempt(self, kept: Collection[str], bar: Steps) -> Trial:
        """How the model with the layers ``kept`` in float does in the gate."""
        engine = self._engine(kept)
        try:
            said = self.answers[tuple(kept)] = Answers()
            scored = score_runs(engine, self.runs, bar, said)
        finally:
            engine.close()
        verdict = judge(scored, self.truth, self.runs, self.card, self.precision)
        return Trial(near=verdict.near, passes=not verdict.faults)

    def _engine(self, kept: Collection[str]) -> Engine:
        self.quantiser.write(self.workshop.folder / INT8_MODEL, kept=kept)
        return self.backend.build(self.workshop, self.precision, batch=1)


def _windows(runs: Sequence[Run], n: int) -> list[npt.NDArray[np.uint8]]:
    """``n`` windows [1, T, H, W, 3], spread over ``runs``."""
    places = [(run, i) for run in runs for i in range(len(run))]
    return [places[k][0].window(places[k][1]) for k in spread(len(places), n)]
