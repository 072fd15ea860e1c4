"""The manifest of a bundle that scores bags of features: what goes in and out, and the proof that it is the model's.

It has no chains and no calibration: its scores are probabilities of segments, and nothing is normalised over a film.
"""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from vadfast.runtime.manifest import Artefact, FileRecord, Golden, Record


class BagSpec(Record):
    """What one bag is: ``bags`` float32 [B, n_segments, n_features], means of a film's features; the graph scales them."""

    n_segments: PositiveInt
    n_features: PositiveInt


class BagManifest(Record):
    """manifest.json of such a bundle; ``takes`` tells it from one that scores frames."""

    format_version: PositiveInt
    minimum_runtime: str
    vadfast_version: str
    created: str  # ISO 8601, UTC
    takes: Literal["bags"] = "bags"
    method: str
    checkpoint_sha256: str
    model: str = "model.onnx"
    input: BagSpec
    # Of the component "score": the score of each segment [B, n_segments] in (0, 1), high = abnormal.
    artefacts: Annotated[tuple[Artefact, ...], Field(min_length=1)]
    golden: Golden  # bags float32 [n, N, C], and the scores [n, N] that eager float32 gave
    gate: dict[str, object]
    files: dict[str, FileRecord]  # every file but manifest.json and manifest.sha256
