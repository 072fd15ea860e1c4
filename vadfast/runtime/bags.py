"""Opens a bundle that scores bags, and scores with it: ONNX Runtime on the CPU, tested on its golden bags before anything else.

A bag is a few hundred kilobytes and its score takes milliseconds, once a film: there is nothing to race.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vadfast.errors import BackendError, BundleError, EngineMismatch, first_line
from vadfast.runtime.bag_manifest import BagManifest, BagSpec
from vadfast.runtime.bundle import verify
from vadfast.runtime.selftest import golden_array
from vadfast.runtime.signature import Trust

Bags = npt.NDArray[np.float32]  # [B, N, C]
Scores = npt.NDArray[np.float32]  # [B, N]
SCORE = "score"  # the name of its only component


class BagEngine:
    """The graph in ONNX Runtime; any number of bags at a time."""

    backend, precision = "onnxruntime", "fp32"

    def __init__(self, model: Path, spec: BagSpec) -> None:
        """Raises BackendError where ONNX Runtime is absent or cannot read ``model``."""
        try:
            import onnxruntime
        except ImportError as error:
            raise BackendError(
                f"onnxruntime cannot be imported ({error}); pip install onnxruntime"
            ) from error
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors only: they arrive as exceptions, stderr stays ours
        # Its exceptions share no base but Exception, and come from a compiled module.
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(model), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise BackendError(f"onnxruntime cannot read {model}: {error}") from error
        self._shape = (spec.n_segments, spec.n_features)

    def __call__(self, bags: Bags) -> Scores:
        """Scores ``bags`` float32 [B, N, C]."""
        if bags.dtype != np.float32 or bags.ndim != 3 or bags.shape[1:] != self._shape:
            raise ValueError(
                f"bags must be float32 [B, {', '.join(map(str, self._shape))}], got {bags.dtype} {list(bags.shape)}"
            )
        (scores,) = self._session.run(["scores"], {"bags": np.ascontiguousarray(bags)})
        return scores


@dataclass(frozen=True, slots=True)
class BagBundle:
    """A bundle whose bytes are those that were sealed, and an engine that gives what it was sealed with."""

    path: Path
    manifest: BagManifest
    engine: BagEngine


def open_bag_bundle(path: Path, trust: Trust | None = None) -> BagBundle:
    """Verifies the bundle at ``path``, loads it and tests it; ``trust`` as for ``open_bundle``.

    Raises:
        BundleError: it is absent, damaged, signed by nobody that is trusted, or scores frames.
        BackendError: ONNX Runtime is absent or cannot read it.
        EngineMismatch: it does not give the scores that it was sealed with.
    """
    # What a zip was unpacked into may go at the end: the engine holds the model by then.
    folder, manifest, _unpacked = verify(path, BagManifest, trust or Trust())
    engine = BagEngine(folder / manifest.model, manifest.input)
    bags, expected = (
        _load(folder / name) for name in (manifest.golden.frames, manifest.golden.components)
    )
    shape = (len(bags), manifest.input.n_segments)
    if bags.shape[1:] != (*shape[1:], manifest.input.n_features) or expected.shape != shape:
        raise BundleError(
            f"{path}: its golden bags must be [n, {shape[1]}, {manifest.input.n_features}] and [n, {shape[1]}], got "
            f"{list(bags.shape)} and {list(expected.shape)}; compile the run again"
        )
    # What a library raises of a model that it cannot run shares no base.
    try:
        scores = engine(bags)
    except Exception as fault:
        raise EngineMismatch(
            f"{path}: must score its golden bags, raised {type(fault).__name__}: {first_line(fault)}; compile the run again"
        ) from fault
    if scores.shape != shape:
        raise EngineMismatch(
            f"{path}: must return scores {list(shape)} for its golden bags, got {list(scores.shape)}; compile the run again"
        )
    error = float(np.abs(scores - expected).max())
    tolerance = manifest.artefacts[0].tolerance.get(SCORE, 0.0)
    if not error <= tolerance:  # also when the error is not a number
        raise EngineMismatch(
            f"{path}: the scores of its golden bags must be within {tolerance:.3g} of the sealed ones, are off by {error:.3g}; "
            "compile the run again on this machine"
        )
    return BagBundle(path, manifest, engine)


def _load(path: Path) -> Bags:
    array = golden_array(path)
    if array.dtype != np.float32 or not array.size or not array.ndim:
        raise BundleError(f"{path}: must hold float32 numbers; compile the run again")
    return array
