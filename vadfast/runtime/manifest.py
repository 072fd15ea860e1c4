"""The manifest: everything a bundle says about itself, as strict typed data.

The models declare the same types (input, components, chains) that the bundle stores and the runtime executes, so there is
one definition of "what goes in, what comes out, what it means" from training to the camera box.
"""

from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from vadfast.teachers.codes import N_PICTURES
from vadfast.teachers.settings import TeacherSettings

FORMAT_VERSION = 1


class Record(BaseModel):
    """Immutable, and strict about its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class InputSpec(Record):
    """What one window is: ``frames`` uint8 [B, n_pictures, height, width, 3], RGB, resized by ``resize``.

    Its camera frames come first; behind them are the pictures that teachers make of the newest one, where the model has teachers.
    """

    n_frames: PositiveInt  # of the camera
    height: PositiveInt
    width: PositiveInt
    colour: Literal["rgb"] = "rgb"
    resize: Literal["bilinear"] = "bilinear"
    # Frame rate of the training video; None where it was a folder of frames without one.
    fps: PositiveFloat | None = None
    teachers: TeacherSettings | None = None

    @property
    def n_pictures(self) -> int:
        """The length of a window: camera frames, and what the teachers make (``vadfast.teachers.codes``)."""
        return self.n_frames + (N_PICTURES if self.teachers else 0)


class Component(Record):
    """One raw score that the graph returns per window, in the order of its columns."""

    name: str
    unit: str
    high_is: Literal["normal", "abnormal"]


class MinMax(Record):
    """Per video: (x - min) / (max - min), 0 where max = min. Needs the whole video (not causal)."""

    step: Literal["minmax"] = "minmax"


class RobustZ(Record):
    """(x - median) / scale, both from normal video held out of training (``Calibration``). Causal."""

    step: Literal["robust_z"] = "robust_z"


class ExponentialMean(Record):
    """y[t] = y[t-1] + (x[t] - y[t-1]) * (1 - 2**(-1 / half_life)), started at x[0]. Causal."""

    step: Literal["exponential_mean"] = "exponential_mean"
    half_life_frames: PositiveFloat


class Reciprocal(Record):
    """-10^(-x / 10): of decibels with their sign turned, the reciprocal that they are of, its sign turned. For whole videos."""

    step: Literal["reciprocal"] = "reciprocal"


# Which frames a smoothing step sees about each: those on both sides, which needs the whole video, or the past alone, which is causal.
Side = Literal["both", "past"]


class Gaussian(Record):
    """Mean with weights exp(-(i / sigma)^2 / 2) of ``n_taps`` (odd) frames; of the past alone, their newer half."""

    step: Literal["gaussian"] = "gaussian"
    n_taps: PositiveInt = 15
    sigma: PositiveFloat = 2.0  # frames
    side: Side = "past"


class SavitzkyGolay(Record):
    """Polynomial of ``order``, least squares over ``length`` (odd) frames, read in the middle, or at the newest of the past.

    A video with fewer frames takes the largest odd length that it has.
    """

    step: Literal["savitzky_golay"] = "savitzky_golay"
    length: PositiveInt = 21
    order: NonNegativeInt = 2
    side: Side = "past"


class Median(Record):
    """Median of ``length`` (odd) frames about each, or of the past."""

    step: Literal["median"] = "median"
    length: PositiveInt = 17
    side: Side = "past"


Step = Annotated[
    MinMax | RobustZ | ExponentialMean | Reciprocal | Gaussian | SavitzkyGolay | Median,
    Field(discriminator="step"),
]


class Chain(Record):
    """From components to one anomaly score: sign (high = abnormal), the steps in order per component, then their weighted sum or maximum."""

    steps: tuple[Step, ...]
    weights: dict[str, float]  # component name -> its factor before they are combined
    combine: Literal["sum", "max"] = "sum"

    @model_validator(mode="after")
    def _has_a_maximum(self) -> Self:
        if self.combine == "max" and not self.weights:
            raise ValueError("combine = max must have the weight of one component at least")
        return self


class ComponentStatistics(Record):
    """Where a component lies on normal video, in its own unit, before the sign is turned."""

    median: float
    scale: PositiveFloat  # 1.4826 * median absolute deviation: one standard deviation if it were Gaussian


class Tail(Record):
    """How the peaks of an alert's statistic on normal video go on beyond ``level`` (vadfast/compile/false_alarms.py has the equation)."""

    level: float
    scale: PositiveFloat
    shape: float
    n_peaks: PositiveInt
    peaks_per_frame: PositiveFloat


class FalseAlarms(Record):
    """What the alert rule would raise on video like that of the calibration, by its tail."""

    per_day: NonNegativeFloat
    lo: NonNegativeFloat  # 95 % interval
    hi: NonNegativeFloat
    fps: PositiveFloat  # the frame rate that makes days of frames
    hours_seen: PositiveFloat  # of normal video: all beyond them is extrapolated


class Calibration(Record):
    """Measured at compile time on normal video that was held out of training."""

    source: str  # what it was measured on, in words
    n_frames: PositiveInt
    components: dict[str, ComponentStatistics]
    score_quantiles: dict[str, float]  # of the causal score on that video; keys "0.5" ... "0.999"
    tail: Tail | None = None  # None: too few peaks
    false_alarms: FalseAlarms | None = None  # None: no tail, or no frame rate


class AlertRule(Record):
    """Raise when ``raise_count`` of the last ``raise_window`` causal scores exceed ``threshold``;

    clear when ``clear_count`` scores in a row are below ``clear_threshold``.
    """

    threshold: float
    clear_threshold: float
    raise_count: PositiveInt
    raise_window: PositiveInt
    clear_count: PositiveInt

    @model_validator(mode="after")
    def _can_raise_and_clear(self) -> Self:
        if self.raise_count > self.raise_window:
            raise ValueError("raise_count must not exceed raise_window: it could never raise")
        if self.clear_threshold > self.threshold:
            raise ValueError(
                "clear_threshold must not exceed threshold: it would clear while it raises"
            )
        return self


# Windows of one call: what a wrong number would have padded is memory.
MAX_BATCH = 1024


class Threads(Record):
    """How an engine was fastest on the compiling machine, or was told to run there (--threads); holds where a process may use as many CPUs."""

    n: PositiveInt | None  # None: as many as the library takes by itself
    pinned: bool | None = None  # whether each keeps its CPU; None: as the library does it
    cpus: PositiveInt


class Artefact(Record):
    """One way to run the model: a backend, its precision and batch, and the file it loads."""

    backend: str  # "mnn", "openvino", "onnxruntime", "tensorrt", or, only when asked for, "inductor", "eager"
    precision: Literal["fp32", "bf16", "fp16", "int8", "int8-bf16"]
    batch: Annotated[int, Field(gt=0, le=MAX_BATCH)]
    path: str  # relative to the bundle; OpenVINO and ONNX Runtime share model.onnx
    versions: dict[str, str]  # of the libraries it was built and measured with
    needs: tuple[str, ...] = ()  # what this CPU must have, e.g. ("bf16",)
    compute_capability: str | None = None  # of the GPU that its code was compiled for, e.g. "9.0"
    threads: Threads | None = None  # None: nothing was measured or told, the library's default
    median_ms: PositiveFloat  # in the race on the compiling machine
    # Largest |difference| of each component from eager float32 allowed at the self-test.
    tolerance: dict[str, PositiveFloat]


class RaceLoad(Record):
    """Load average of the compiling machine about the race: what ran beside it slowed it."""

    before: NonNegativeFloat
    after: NonNegativeFloat


class Golden(Record):
    """The self-test at load: windows and the components that eager float32 gave for them."""

    frames: str  # npy, uint8 [n, T, H, W, 3]
    components: str  # npy, float32 [n, K]


class FileRecord(Record):
    """What a file of the bundle must be, byte for byte."""

    sha256: str
    size: int


class Manifest(Record):
    """manifest.json. Its own bytes are covered by manifest.sha256 beside it (``sha256sum -c`` format)."""

    format_version: PositiveInt
    minimum_runtime: str
    vadfast_version: str
    created: str  # ISO 8601, UTC
    method: str
    checkpoint_sha256: str
    model: str = "model.onnx"
    input: InputSpec
    components: tuple[Component, ...]
    heatmap: tuple[PositiveInt, PositiveInt]  # h, w
    paper_chain: Chain
    causal_chain: Chain
    calibration: Calibration
    alert: AlertRule
    artefacts: tuple[Artefact, ...]  # in the order the runtime tries them: the race's winner first
    golden: Golden
    gate: dict[str, object]
    race: tuple[dict[str, object], ...]
    race_load: RaceLoad | None = None  # None: compiled before it was kept
    files: dict[str, FileRecord]  # every file but manifest.json and manifest.sha256
